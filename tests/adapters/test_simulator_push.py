"""Pushes to the simulated GitHub by real git: who may, what they move, and trouble on the way."""

import subprocess

import httpx
import pytest

from bot.simulator.build import PERMISSIONS
from bot.simulator.faults import Fault, Kind
from tests.support.receiver import receiving
from tests.support.simulated import (
    REPO,
    git,
    installation_token,
    person,
    simulated_github,
    the_app,
)

github = simulated_github(run_workflows=False)
trusting = simulated_github(run_workflows=False, permissions={**PERMISSIONS, "workflows": "write"})


def clone(simulator, folder, token):
    url = f"{simulator.url.replace('://', f'://x-access-token:{token}@')}/{REPO}.git"
    git(folder, "clone", "--quiet", url, "clone")
    return folder / "clone"


def commit(folder, path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Mend")
    return git(folder, "rev-parse", "HEAD")


def test_the_app_pushes_and_the_pull_request_follows(github, tmp_path):
    number = github.open_pull(REPO, {"broken": "yes\n"}, branch="change")
    before = github.head(REPO, number)
    with receiving() as receiver:
        github.set_webhook(receiver.url)
        work = clone(
            github, tmp_path, installation_token(github, permissions={"contents": "write"})
        )
        git(work, "checkout", "--quiet", "change")
        (work / "broken").unlink()
        sha = commit(work, "mended", "yes\n")
        git(work, "push", "--quiet", f"--force-with-lease=change:{before}", "origin", "change")
        github.wait_idle()
    assert github.head(REPO, number) == sha
    assert [c["author"] for c in github.commits(REPO, number)] == ["owner", "Ann"]
    assert github.files_at(REPO, sha, "broken") is None
    [push, sync, *_] = github.deliveries()
    assert (push.event, push.payload["sender"]["login"]) == ("push", github.bot)
    assert (sync.action, sync.payload["before"], sync.payload["after"]) == (
        "synchronize",
        before,
        sha,
    )
    assert [(e.method, e.path) for e in github.effects()] == [
        ("PUSH", f"/{REPO}/refs/heads/change")
    ]


def test_a_moved_branch_refuses_a_stale_lease(github, tmp_path):
    number = github.open_pull(REPO, {"broken": "yes\n"}, branch="change")
    before = github.head(REPO, number)
    work = clone(github, tmp_path, installation_token(github))
    git(work, "checkout", "--quiet", "change")
    commit(work, "mended", "yes\n")
    moved = github.push_files(REPO, number, {"else": "1\n"})
    with pytest.raises(subprocess.CalledProcessError):
        git(work, "push", "--quiet", f"--force-with-lease=change:{before}", "origin", "change")
    assert github.head(REPO, number) == moved


def test_workflow_files_need_their_own_permission(github, tmp_path):
    work = clone(github, tmp_path, installation_token(github))
    commit(work, ".github/workflows/more.yml", "on: push\n")
    commit(work, "harmless", "1\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(work, "push", "origin", "HEAD:refs/heads/sneaky")
    assert "without `workflows` permission" in refused.value.stderr
    with person(github) as owner:
        assert owner.get(f"/repos/{REPO}/branches/sneaky").status_code == 404
    mine = github.url.replace("://", f"://owner:{github.tokens['owner']}@")
    git(work, "push", "--quiet", f"{mine}/{REPO}.git", "HEAD:refs/heads/mine")


def test_an_app_with_the_permission_may_push_workflows(trusting, tmp_path):
    work = clone(trusting, tmp_path, installation_token(trusting))
    commit(work, ".github/workflows/more.yml", "on: push\n")
    git(work, "push", "--quiet", "origin", "HEAD:refs/heads/open")


@pytest.mark.parametrize(
    "narrowed",
    [
        pytest.param({"permissions": {"contents": "read"}}, id="only reading"),
        pytest.param({"permissions": {"checks": "write"}}, id="no code at all"),
    ],
)
def test_a_token_without_the_permission_pushes_nothing(github, tmp_path, narrowed):
    work = clone(github, tmp_path, installation_token(github))
    commit(work, "a", "1\n")
    url = github.url.replace("://", f"://x-access-token:{installation_token(github, **narrowed)}@")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(work, "push", f"{url}/{REPO}.git", "HEAD:refs/heads/nope")
    assert "403" in refused.value.stderr


def test_a_deleted_branch_closes_its_pull_request(github):
    number = github.open_pull(REPO, {"a": "1\n"}, branch="gone")
    github.move_branch(REPO, "gone", None)
    assert not github.is_open(REPO, number)


def test_trouble_comes_as_planned(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    path = f"/repos/{REPO}/issues/{number}/comments"
    with the_app(github) as app:
        github.fault(Fault("POST", "/comments$", status=503, headers={"Retry-After": "1"}))
        down = app.post(path, json={"body": "one"})
        github.fault(Fault("POST", "/comments$", kind=Kind.AFTER))
        denied = app.post(path, json={"body": "two"})
        github.fault(Fault("POST", "/comments$", kind=Kind.CUT))
        with pytest.raises(httpx.TransportError):
            app.post(path, json={"body": "three"})
        github.fault(Fault("POST", "/comments$", kind=Kind.CUT_AFTER))
        with pytest.raises(httpx.TransportError):
            app.post(path, json={"body": "four"})
        fine = app.post(path, json={"body": "five"})
    assert (down.status_code, down.headers["retry-after"]) == (503, "1")
    assert (denied.status_code, fine.status_code) == (502, 201)
    assert [c["body"] for c in github.comments(REPO, number)] == ["two", "four", "five"]


def test_another_process_can_control_it_all(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    repo = f"/_sim/repos/{REPO}"
    with httpx.Client(base_url=github.url) as control:
        for path, body in (
            ("/_sim/switches", {"drop": 0.5}),
            (f"{repo}/permission", {"login": "wendy", "permission": "write"}),
            (f"{repo}/fail", {"number": number, "name": "lint", "log": "bad"}),
            ("/_sim/faults", {"method": "GET", "path": "/meta", "times": 1, "status": 500}),
            ("/_sim/tokens/expire", None),
        ):
            assert control.post(path, json=body).status_code == 200, path
        assert control.get("/meta").status_code == 500
        assert control.get("/meta").status_code == 200
        assert control.get("/_sim/idle").json() == {"idle": True}
        assert control.get("/_sim/people").json() == dict(github.tokens)
        assert control.post(f"{repo}/press", json={"number": number}).status_code == 422
        assert control.post(f"{repo}/fail", json={"number": 99}).status_code == 404
        assert control.post("/_sim/redeliver", json={"id": 99}).status_code == 404
    assert "lint" in {check["name"] for check in github.checks(REPO, github.head(REPO, number))}
