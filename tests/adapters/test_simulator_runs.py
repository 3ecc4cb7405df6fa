"""Workflow runs at the simulated GitHub: really run, told of in order, run again, cancelled."""

import httpx
import pytest

from bot.simulator.hub import Limits
from tests.support.receiver import receiving
from tests.support.simulated import FILES, REPO, WORKFLOW, person, simulated_github, the_app

TWO_JOBS = """\
name: CI
on: [pull_request]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: test ! -e broken || test "$GITHUB_RUN_ATTEMPT" != 1
  lint:
    runs-on: ubuntu-latest
    steps:
      - run: echo "::error file=src/widget.py,line=1::odd size"
  after:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""
SLOW = """\
name: Slow
on: [pull_request]
jobs:
  wait:
    runs-on: ubuntu-latest
    steps:
      - run: while test -e slow; do sleep 0.05; done
"""

ON_PUSH = WORKFLOW.replace("  pull_request:", "  pull_request:\n  push:")

github = simulated_github()
two_jobs = simulated_github({**FILES, ".github/workflows/ci.yml": TWO_JOBS})
slow = simulated_github({**FILES, ".github/workflows/ci.yml": SLOW})
pushed = simulated_github({**FILES, ".github/workflows/ci.yml": ON_PUSH})
short_lived = simulated_github(run_workflows=False, limits=Limits(log_link_s=0))

RUNS = f"/repos/{REPO}/actions/runs"


def jobs(app, run, **query):
    listed = app.get(f"{RUNS}/{run}/jobs", params=query).json()["jobs"]
    return {job["name"]: job["conclusion"] for job in listed}


def only_run(app, head):
    [run] = app.get(RUNS, params={"head_sha": head}).json()["workflow_runs"]
    return run


def test_a_red_job_is_told_step_by_step_with_its_log(github):
    head = github.head(REPO, github.open_pull(REPO, {"broken": "yes\n"}))
    github.wait_idle()
    with the_app(github) as app:
        run = only_run(app, head)
        [job] = app.get(f"{RUNS}/{run['id']}/jobs").json()["jobs"]
        check = app.get(f"/repos/{REPO}/check-runs/{job['id']}").json()
        link = app.get(f"/repos/{REPO}/actions/jobs/{job['id']}/logs")
    assert (run["status"], run["conclusion"], run["path"]) == (
        "completed",
        "failure",
        ".github/workflows/ci.yml",
    )
    assert [(step["name"], step["conclusion"]) for step in job["steps"]][2] == (
        "Run tests",
        "failure",
    )
    assert (check["conclusion"], check["app"]["slug"]) == ("failure", "github-actions")
    assert link.status_code == 302
    log = httpx.get(link.headers["location"])
    assert "broken is there" in log.text
    assert "##[error]Process completed with exit code 1." in log.text


def test_a_log_link_takes_no_credentials_and_dies(github, short_lived):
    number = github.open_pull(REPO, {"broken": "yes\n"})
    github.wait_idle()
    job = next(c["id"] for c in github.checks(REPO, github.head(REPO, number)) if c["details_url"])
    with the_app(github) as app:
        link = app.get(f"/repos/{REPO}/actions/jobs/{job}/logs").headers["location"]
        assert app.get(link).status_code == 400
        assert httpx.get(link).status_code == 200
    dead = short_lived.fail_check(REPO, short_lived.open_pull(REPO, {"a": "1\n"}), "lint", "bad")
    with the_app(short_lived) as app:
        link = app.get(f"/repos/{REPO}/actions/jobs/{dead}/logs").headers["location"]
        assert httpx.get(link).status_code == 403


def test_logs_need_the_actions_permission(github):
    job = github.fail_check(REPO, github.open_pull(REPO, {"a": "1\n"}), "lint", "bad")
    with the_app(github, permissions={"checks": "read"}) as app:
        assert app.get(f"/repos/{REPO}/actions/jobs/{job}/logs").status_code == 403


def test_failed_jobs_and_those_behind_them_run_again(two_jobs):
    head = two_jobs.head(REPO, two_jobs.open_pull(REPO, {"broken": "yes\n"}))
    two_jobs.wait_idle()
    with the_app(two_jobs) as app:
        run = only_run(app, head)["id"]
        before = jobs(app, run)
        lint = {c["name"]: c["id"] for c in two_jobs.checks(REPO, head)}["lint"]
        assert app.post(f"{RUNS}/{run}/rerun-failed-jobs").status_code == 201
        two_jobs.wait_idle()
        again = only_run(app, head)
        everything = app.get(f"{RUNS}/{run}/jobs", params={"filter": "all"}).json()["total_count"]
        notes = app.get(f"/repos/{REPO}/check-runs/{lint}/annotations").json()
        assert app.post(f"{RUNS}/{run}/rerun-failed-jobs").status_code == 403
        assert app.post(f"{RUNS}/{run}/rerun").status_code == 201
        two_jobs.wait_idle()
        assert only_run(app, head)["run_attempt"] == 3
        assert app.post(f"/repos/{REPO}/actions/jobs/{lint}/rerun").status_code == 201
        two_jobs.wait_idle()
    assert before == {"build": "failure", "lint": "success", "after": "skipped"}
    assert (again["run_attempt"], again["conclusion"]) == (2, "success")
    assert jobs_of_names(two_jobs, head) == {"build", "lint", "after"}
    assert everything == 5
    assert [(n["path"], n["message"]) for n in notes] == [("src/widget.py", "odd size")]


def jobs_of_names(github, head):
    return {check["name"] for check in github.checks(REPO, head)}


def test_the_story_of_a_run_is_told_in_order(github):
    with receiving() as receiver:
        github.set_webhook(receiver.url)
        github.open_pull(REPO, {"broken": "yes\n"})
        github.wait_idle()
        told = [(each.event, each.action) for each in github.deliveries()]
    assert told == [
        ("push", None),
        ("pull_request", "opened"),
        ("check_suite", "requested"),
        ("workflow_run", "requested"),
        ("check_run", "created"),
        ("workflow_run", "in_progress"),
        ("check_run", "completed"),
        ("workflow_run", "completed"),
        ("check_suite", "completed"),
    ]


def test_a_new_head_cancels_the_runs_of_the_old_one(slow):
    number = slow.open_pull(REPO, {"slow": "yes\n"})
    old = slow.head(REPO, number)
    slow.wait_for(lambda: any(c["status"] == "in_progress" for c in slow.checks(REPO, old)))
    new = slow.push_files(REPO, number, {"slow": None})
    slow.wait_idle()
    with the_app(slow) as app:
        assert only_run(app, old)["conclusion"] == "cancelled"
        assert only_run(app, new)["conclusion"] == "success"


def test_a_run_can_be_cancelled_once(slow):
    number = slow.open_pull(REPO, {"slow": "yes\n"})
    head = slow.head(REPO, number)
    with the_app(slow) as app:
        run = only_run(app, head)["id"]
        assert app.post(f"{RUNS}/{run}/rerun").status_code == 403
        assert app.post(f"{RUNS}/{run}/cancel").status_code == 202
        slow.wait_idle()
        assert app.post(f"{RUNS}/{run}/cancel").status_code == 409
        assert app.get(f"{RUNS}/{run}").json()["conclusion"] == "cancelled"


def test_a_broken_workflow_file_fails_at_its_start(github):
    number = github.open_pull(REPO, {".github/workflows/ci.yml": "on: pull_request\njobs: 3\n"})
    github.wait_idle()
    with the_app(github) as app:
        assert only_run(app, github.head(REPO, number))["conclusion"] == "startup_failure"


@pytest.mark.parametrize("rerun", ["success", "failure"])
def test_a_scripted_failure_ends_as_told_when_run_again(short_lived, rerun):
    number = short_lived.open_pull(REPO, {"a": "1\n"})
    short_lived.fail_check(REPO, number, "flaky", "connection reset", rerun=rerun)
    with the_app(short_lived) as app:
        run = only_run(app, short_lived.head(REPO, number))["id"]
        app.post(f"{RUNS}/{run}/rerun-failed-jobs")
        assert jobs(app, run) == {"flaky": rerun}


def test_the_default_branch_has_runs_of_its_own(pushed):
    number = pushed.open_pull(REPO, {"a": "1\n"})
    sha = pushed.merge(REPO, number)
    pushed.wait_idle()
    with person(pushed) as owner:
        assert only_run(owner, sha)["event"] == "push"
