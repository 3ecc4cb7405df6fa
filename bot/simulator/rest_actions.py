"""REST operations about workflow runs, jobs and their logs."""

import secrets
from datetime import timedelta
from typing import Any

from bot.simulator import runs, shapes_checks
from bot.simulator.auth import Need
from bot.simulator.clock import now
from bot.simulator.problems import Problem, not_found
from bot.simulator.rest import Call, Operation, Reply, counted
from bot.simulator.state import Job, LogLink, WorkflowRun

_READ = Need(("actions",))
_WRITE = Need(("actions",), "write", person="write")


def _run(call: Call) -> WorkflowRun:
    found = call.hub.state.runs.get(call.params["run_id"])
    if found is None or found.suite.repo is not call.repo:
        raise not_found()
    return found


def _job(call: Call) -> tuple[WorkflowRun, Job]:
    found = call.hub.state.jobs.get(call.params["job_id"])
    if found is None or found[0].suite.repo is not call.repo:
        raise not_found()
    return found


def list_runs(call: Call) -> Any:
    """List workflow runs, newest first, by head, branch, event, status, actor or suite."""
    rows = [run for run in call.hub.state.runs.values() if _matches(call, run)]
    rows.sort(key=lambda run: run.id, reverse=True)
    return counted(call, rows, lambda row: shapes_checks.run(call.shapes, row), "workflow_runs")


def _matches(call: Call, run: WorkflowRun) -> bool:
    values = {
        "head_sha": run.suite.head_sha,
        "branch": run.suite.head_branch or "",
        "event": run.event,
        "actor": run.actor.login,
        "check_suite_id": str(run.suite.id),
    }
    asked = call.query
    status = asked.get("status")
    return (
        run.suite.repo is call.repo
        and all(asked.get(name, value) == value for name, value in values.items())
        and status in {None, run.status, run.conclusion}
    )


def get_run(call: Call) -> Any:
    """Answer one workflow run."""
    return shapes_checks.run(call.shapes, _run(call))


def list_jobs(call: Call) -> Any:
    """List a run's jobs: the newest of each name, or those of every attempt."""
    run = _run(call)
    rows = run.jobs if call.query.get("filter") == "all" else run.latest()
    return counted(call, rows, lambda row: shapes_checks.job(call.shapes, run, row), "jobs")


def get_job(call: Call) -> Any:
    """Answer one job."""
    return shapes_checks.job(call.shapes, *_job(call))


def get_log(call: Call) -> Any:
    """Redirect to a link of short life that needs no credentials."""
    _, job = _job(call)
    if job.check.status != "completed" or not job.log:
        raise not_found()
    key = secrets.token_urlsafe(24)
    expires_at = now() + timedelta(seconds=call.hub.limits.log_link_s)
    call.hub.state.links[key] = LogLink(job.log, expires_at)
    return Reply(302, b"", {"Location": f"{call.hub.url}/_logs/{key}"}, "text/html")


def rerun(call: Call) -> Any:
    """Run a whole workflow run again."""
    run = _run(call)
    runs.rerun(call.hub, run, run.latest(), call.actor)
    return Reply(201, {})


def rerun_failed(call: Call) -> Any:
    """Run the failed jobs of a workflow run again."""
    run = _run(call)
    failed = runs.failed(run)
    if run.status == "completed" and not failed:
        raise Problem(403, "This workflow run cannot be retried: no job has failed")
    runs.rerun(call.hub, run, failed, call.actor)
    return Reply(201, {})


def rerun_job(call: Call) -> Any:
    """Run one job again."""
    run, job = _job(call)
    runs.rerun(call.hub, run, [job], call.actor)
    return Reply(201, {})


def cancel(call: Call) -> Any:
    """Cancel a workflow run."""
    if not runs.cancel(call.hub, _run(call)):
        raise Problem(409, "Cannot cancel a workflow run that is completed.")
    return Reply(202, {})


def get_permissions(_call: Call) -> Any:
    """Answer that Actions is enabled for everything."""
    return {"enabled": True, "allowed_actions": "all"}


_ACTIONS = "/repos/{owner}/{repo}/actions"
_RUN = f"{_ACTIONS}/runs/{{run_id:int}}"
_JOB = f"{_ACTIONS}/jobs/{{job_id:int}}"
OPERATIONS = (
    Operation(
        "GET", f"{_ACTIONS}/permissions", get_permissions, Need(("administration",), person="admin")
    ),
    Operation("GET", f"{_ACTIONS}/runs", list_runs, _READ),
    Operation("GET", _RUN, get_run, _READ),
    Operation("GET", f"{_RUN}/jobs", list_jobs, _READ),
    Operation("POST", f"{_RUN}/rerun", rerun, _WRITE),
    Operation("POST", f"{_RUN}/rerun-failed-jobs", rerun_failed, _WRITE),
    Operation("POST", f"{_RUN}/cancel", cancel, _WRITE),
    Operation("GET", _JOB, get_job, _READ),
    Operation("GET", f"{_JOB}/logs", get_log, _READ),
    Operation("POST", f"{_JOB}/rerun", rerun_job, _WRITE),
)
