"""Deliveries of the simulated GitHub: signed, in order, kept, sent again, lost on request."""

import hashlib
import hmac
import json

from tests.support.receiver import receiving
from tests.support.simulated import REPO, app_jwt, client, simulated_github

github = simulated_github(run_workflows=False)

DELIVERIES = "/app/hook/deliveries"


def actions(receiver):
    return [
        (headers["x-github-event"], json.loads(body).get("action"))
        for headers, body in receiver.got
    ]


def test_each_delivery_is_signed_and_says_what_it_is(github):
    with receiving() as receiver:
        github.set_webhook(receiver.url, "quite a secret")
        github.open_pull(REPO, {"a": "1\n"})
        github.wait_idle()
    headers, body = receiver.got[1]
    expected = hmac.new(b"quite a secret", body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["x-github-event"] == "pull_request"
    assert headers["x-github-hook-installation-target-id"] == str(github.app_id)
    assert json.loads(body)["installation"]["id"]
    assert len(set(receiver.guids())) == len(receiver.got)


def test_what_was_refused_is_kept_and_sent_again_under_its_guid(github):
    with receiving() as receiver, client(github, app_jwt(github)) as app:
        receiver.status = 503
        github.set_webhook(receiver.url)
        number = github.open_pull(REPO, {"a": "1\n"})
        github.wait_idle()
        failed = app.get(DELIVERIES, params={"status": "failure"}).json()
        receiver.status = 202
        lost = next(each for each in failed if each["event"] == "pull_request")
        assert app.post(f"{DELIVERIES}/{lost['id']}/attempts").status_code == 202
        github.wait_idle()
        [again] = app.get(DELIVERIES, params={"status": "success"}).json()
        whole = app.get(f"{DELIVERIES}/{again['id']}").json()
        config = app.get("/app/hook/config").json()
    assert {each["status_code"] for each in failed} == {503}
    assert (again["guid"], again["redelivery"]) == (lost["guid"], True)
    assert again["id"] != lost["id"]
    assert whole["request"]["payload"]["number"] == number
    assert whole["request"]["headers"]["X-GitHub-Delivery"] == lost["guid"]
    assert config["url"] == receiver.url


def test_the_list_of_deliveries_goes_on_by_a_cursor(github):
    with receiving() as receiver, client(github, app_jwt(github)) as app:
        github.set_webhook(receiver.url)
        number = github.open_pull(REPO, {"a": "1\n"})
        for count in range(4):
            github.comment(REPO, number, f"comment {count}")
        github.wait_idle()
        seen, url = [], f"{DELIVERIES}?per_page=2"
        while url:
            answer = app.get(url)
            seen += [each["guid"] for each in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
    assert seen == receiver.guids()[::-1]


def test_dropped_deliveries_can_be_found_and_sent_again(github):
    with receiving() as receiver, client(github, app_jwt(github)) as app:
        github.set_webhook(receiver.url)
        github.switch(drop=1.0)
        github.open_pull(REPO, {"a": "1\n"})
        github.wait_idle()
        assert receiver.got == []
        lost = app.get(DELIVERIES).json()
        for each in lost:
            app.post(f"{DELIVERIES}/{each['id']}/attempts")
        github.wait_idle()
    assert sorted(receiver.guids()) == sorted(each["guid"] for each in lost)


def test_duplicates_share_their_guid(github):
    with receiving() as receiver:
        github.set_webhook(receiver.url)
        github.switch(duplicate=1.0)
        github.open_pull(REPO, {"a": "1\n"})
        github.wait_idle()
    assert receiver.guids()[0::2] == receiver.guids()[1::2]


def test_a_pause_holds_everything_back_and_order_can_be_lost(github):
    with receiving() as receiver:
        github.set_webhook(receiver.url)
        github.switch(paused=True, reorder=1.0)
        number = github.open_pull(REPO, {"a": "1\n"})
        for count in range(20):
            github.comment(REPO, number, str(count))
        assert not github.idle()
        assert receiver.got == []
        github.switch(paused=False)
        github.wait_idle()
    texts = [
        json.loads(body)["comment"]["body"]
        for headers, body in receiver.got
        if headers["x-github-event"] == "issue_comment"
    ]
    assert sorted(texts) == sorted(str(count) for count in range(20))
    assert texts != [str(count) for count in range(20)]


def test_nobody_listening_is_no_trouble(github):
    with receiving() as receiver:
        gone = receiver.url
    github.set_webhook(gone)
    github.open_pull(REPO, {"a": "1\n"})
    github.wait_idle()
    assert {each.status for each in github.deliveries()} == {"failed to connect to host"}


def test_every_event_of_the_installation_is_told(github):
    with receiving() as receiver, client(github) as control:
        github.set_webhook(receiver.url)
        for action in ("suspend", "unsuspend", "new_permissions_accepted", "deleted"):
            body = {"account": "acme", "action": action}
            assert control.post("/_sim/installation", json=body).status_code == 200
            if action == "new_permissions_accepted":
                for installed in (False, True):
                    change = {"installed": installed}
                    control.post(f"/_sim/repos/{REPO}/installed", json=change)
        control.post("/_sim/ping")
        github.open_pull(REPO, {"a": "1\n"})
        github.wait_idle()
    told = actions(receiver)
    assert told == [
        ("installation", "suspend"),
        ("installation", "unsuspend"),
        ("installation", "new_permissions_accepted"),
        ("installation_repositories", "removed"),
        ("installation_repositories", "added"),
        ("installation", "deleted"),
        ("ping", None),
    ]


def test_comments_and_statuses_are_told(github):
    with receiving() as receiver:
        github.set_webhook(receiver.url)
        number = github.open_pull(REPO, {"a": "1\n"})
        comment = github.comment(REPO, number, "one")
        github.delete_comment(REPO, comment)
        github.status(REPO, github.head(REPO, number), "ext", "failure")
        github.label(REPO, number, "bug")
        github.close(REPO, number)
        github.reopen(REPO, number)
        github.wait_idle()
    told = [f"{event}.{action or ''}" for event, action in actions(receiver)]
    assert told[3:] == [
        "issue_comment.created",
        "issue_comment.deleted",
        "status.",
        "pull_request.labeled",
        "pull_request.closed",
        "pull_request.reopened",
        "check_suite.requested",
    ]
