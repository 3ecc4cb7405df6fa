"""Check runs and statuses at the simulated GitHub, with the limits that GitHub sets."""

import pytest

from bot.simulator.build import PERMISSIONS
from tests.support.simulated import REPO, person, simulated_github, the_app

github = simulated_github(run_workflows=False, permissions={**PERMISSIONS, "statuses": "write"})

CHECKS = f"/repos/{REPO}/check-runs"


def annotation(**changes):
    usual = {
        "path": "src/widget.py",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "message": "wrong",
    }
    return {**usual, **changes}


def action(**changes):
    return {"label": "Fix", "description": "Mend it", "identifier": "fix", **changes}


def output(**changes):
    return {"output": {"title": "Result", "summary": "All is well", **changes}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, 201, id="queued"),
        pytest.param({"status": "completed", "conclusion": "neutral"}, 201, id="completed"),
        pytest.param({"conclusion": "success"}, 201, id="a conclusion completes"),
        pytest.param({"status": "completed"}, 422, id="completed without conclusion"),
        pytest.param({"conclusion": "stale"}, 422, id="a conclusion only GitHub gives"),
        pytest.param({"head_sha": "0" * 40}, 422, id="unknown commit"),
        pytest.param(output(title="x" * 255), 201, id="longest title"),
        pytest.param(output(title="x" * 256), 422, id="title too long"),
        pytest.param(output(summary="x" * 65_535), 201, id="longest summary"),
        pytest.param(output(summary="ü" * 32_768), 422, id="summary too long in bytes"),
        pytest.param(output(text="x" * 65_536), 422, id="text too long"),
        pytest.param(output(annotations=[annotation()] * 50), 201, id="fifty annotations"),
        pytest.param(output(annotations=[annotation()] * 51), 422, id="too many annotations"),
        pytest.param(output(annotations=[annotation(path="")]), 422, id="annotation nowhere"),
        pytest.param(
            output(annotations=[annotation(end_line=2, start_column=1)]), 422, id="columns"
        ),
        pytest.param({"actions": [action()] * 3}, 201, id="three buttons"),
        pytest.param({"actions": [action()] * 4}, 422, id="four buttons"),
        pytest.param({"actions": [action(label="x" * 21)]}, 422, id="label too long"),
        pytest.param({"actions": [action(description="x" * 41)]}, 422, id="description too long"),
        pytest.param({"actions": [action(identifier="x" * 21)]}, 422, id="identifier too long"),
    ],
)
def test_check_runs_keep_to_githubs_limits(github, body, expected):
    head = github.head(REPO, github.open_pull(REPO, {"a": "1\n"}))
    with the_app(github) as app:
        answer = app.post(CHECKS, json={"name": "regreen", "head_sha": head, **body})
    assert answer.status_code == expected, answer.text
    assert len(github.checks(REPO, head)) == (expected == 201)


def test_annotations_add_up_over_updates(github):
    head = github.head(REPO, github.open_pull(REPO, {"a": "1\n"}))
    with the_app(github) as app:
        body = {"name": "regreen", "head_sha": head, **output(annotations=[annotation()] * 50)}
        number = app.post(CHECKS, json=body).json()["id"]
        more = output(annotations=[annotation(message="more")] * 20)
        updated = app.patch(f"{CHECKS}/{number}", json=more).json()
        pages = [
            app.get(f"{CHECKS}/{number}/annotations", params={"page": p, "per_page": 60}).json()
            for p in (1, 2)
        ]
    assert updated["output"]["annotations_count"] == 70
    assert [len(page) for page in pages] == [60, 10]
    assert pages[1][-1]["message"] == "more"


def test_only_the_app_writes_check_runs_and_only_its_own(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    head = github.head(REPO, number)
    job = github.fail_check(REPO, number, "lint", "a.py:1:1: F401 unused")
    with person(github) as owner, the_app(github) as app:
        refused = owner.post(CHECKS, json={"name": "mine", "head_sha": head})
        foreign = app.patch(f"{CHECKS}/{job}", json={"conclusion": "success"})
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "You must authenticate via a GitHub App.",
    )
    assert foreign.status_code == 403


def test_buttons_show_only_on_completed_check_runs(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    head = github.head(REPO, number)
    with the_app(github) as app:
        body = {"name": "regreen", "head_sha": head, "actions": [action()]}
        check = app.post(CHECKS, json=body).json()["id"]
        with person(github) as owner:
            press = {"number": number, "button": "fix"}
            early = owner.post(f"/_sim/repos/{REPO}/press", json=press)
            app.patch(f"{CHECKS}/{check}", json={"conclusion": "neutral"})
            late = owner.post(f"/_sim/repos/{REPO}/press", json=press)
    assert (early.status_code, late.json()) == (404, {"check": check})


def test_statuses_sum_up_by_their_newest(github):
    head = github.head(REPO, github.open_pull(REPO, {"a": "1\n"}))
    path = f"/repos/{REPO}/commits/{head}/status"
    with the_app(github) as app:
        empty = app.get(path).json()["state"]
        github.status(REPO, head, "ext/build", "failure")
        red = app.get(path).json()["state"]
        github.status(REPO, head, "ext/build", "success")
        green = app.get(path).json()
        made = app.post(f"/repos/{REPO}/statuses/{head}", json={"state": "pending"})
        wrong = app.post(f"/repos/{REPO}/statuses/{head}", json={"state": "great"})
    assert (empty, red, green["state"], green["total_count"]) == (
        "pending",
        "failure",
        "success",
        1,
    )
    assert (made.status_code, made.json()["context"]) == (201, "default")
    assert wrong.status_code == 422


def test_other_apps_publish_checks_without_jobs(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    head = github.head(REPO, number)
    github.finish_check(REPO, head, "scan", "failure", title="1 leak", summary="a key")
    with the_app(github) as app:
        found = app.get(f"/repos/{REPO}/commits/{head}/check-runs").json()["check_runs"]
        [check] = [each for each in found if each["name"] == "scan"]
        suite = app.get(f"/repos/{REPO}/check-suites/{check['check_suite']['id']}").json()
        suites = app.get(f"/repos/{REPO}/commits/{head}/check-suites").json()
        in_suite = app.get(f"/repos/{REPO}/check-suites/{suite['id']}/check-runs").json()
        job = app.get(f"/repos/{REPO}/actions/jobs/{check['id']}")
    assert check["app"]["slug"] == "other-ci"
    assert check["output"]["title"] == "1 leak"
    assert (suite["status"], suite["conclusion"]) == ("completed", "failure")
    assert suite["id"] in [each["id"] for each in suites["check_suites"]]
    assert in_suite["total_count"] == 1
    assert job.status_code == 404
