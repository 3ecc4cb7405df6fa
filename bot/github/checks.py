"""The checks of a commit: GitHub's three systems in one list.

Actions jobs and other Apps' verdicts are check runs; CI outside Actions often writes commit
statuses. A job's check run has the job's id, and its link names the workflow run and the job; check
runs that a job itself creates carry the same App but no such link, and are not jobs.

Actions announces work by a check suite before its check runs exist, and makes the check run of a
job that waits for another one only when its turn comes. So a suite that is not completed while all
its check runs are counts as one pending check; and one that ended red without any check run (a
workflow file that does not parse) as one failed check.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bot.domain.errors import Gone, NeedsPerson
from bot.domain.values import Card, Check, CheckKind, CheckState, Sha
from bot.github import wire
from bot.github.card import Cards
from bot.github.client import Client
from bot.github.logs import Logs
from bot.github.transport import Flaky

ACTIONS = "github-actions"
STATES: Mapping[str | None, CheckState] = {  # every other conclusion is neither red nor green
    "success": CheckState.PASSED,
    "failure": CheckState.FAILED,
    "timed_out": CheckState.FAILED,
    "startup_failure": CheckState.FAILED,
    "action_required": CheckState.FAILED,
    "cancelled": CheckState.CANCELLED,
}
STATUS_STATES: Mapping[str, CheckState] = {  # `failure` and `error` are red
    "pending": CheckState.PENDING,
    "success": CheckState.PASSED,
}
_JOB_LINK = re.compile(r"/actions/runs/(\d+)/job/(\d+)")


class GitHubChecks:
    """The port `Checks`."""

    def __init__(self, client: Client, app_id: int, cards: Cards, logs: Logs) -> None:
        self._client = client
        self._app_id = app_id
        self._cards = cards
        self._logs = logs

    def at(self, repo: str, head: Sha) -> Sequence[Check]:
        """Return every check of a commit over all pages, except our own."""
        runs = [r for r in self._check_runs(repo, head) if _app_id(r) != self._app_id]
        suites = [s for s in self._suites(repo, head) if s.app and s.app.slug == ACTIONS]
        workflows = self._workflows(repo, head) if suites else {}
        return [
            *(self._check(repo, run, workflows) for run in runs),
            *_announced(suites, runs, workflows),
            *self._statuses(repo, head),
        ]

    def log(self, repo: str, check: Check) -> bytes:
        """Return what a check wrote: a job's log, a check run's output, a status's description."""
        if check.kind is CheckKind.JOB:
            return self._logs.of_job(repo, check.id)
        if check.kind is CheckKind.STATUS or not check.id:
            return check.summary.encode()
        run = self._client.get(repo, f"/check-runs/{check.id}", wire.CheckRun)
        output = run.output
        return "\n\n".join(t for t in (output.title, output.summary, output.text) if t).encode()

    def rerun(self, repo: str, checks: Sequence[Check]) -> None:
        """Run the failed jobs of these checks' workflow runs again."""
        runs = sorted({check.workflow_run for check in checks if check.workflow_run})
        if not runs:
            names = ", ".join(check.name for check in checks)
            raise NeedsPerson(f"only GitHub Actions can be re-run from here, not {names}")
        for run in runs:
            self._rerun(repo, run)

    def show(self, card: Card) -> None:
        """Bring our check run at a head up to date."""
        self._cards.show(card)

    def _rerun(self, repo: str, run: int) -> None:
        before = self._workflow(repo, run)
        if before.status != "completed" or before.conclusion == "success":
            return  # at work again, or there is nothing left to run again
        try:
            self._client.send("POST", repo, f"/actions/runs/{run}/rerun-failed-jobs")
        except NeedsPerson as refused:
            if "already running" not in str(refused):
                raise
        except Flaky:
            after = self._workflow(repo, run)
            if (after.status, after.run_attempt) == (before.status, before.run_attempt):
                raise

    def _workflow(self, repo: str, run: int) -> wire.WorkflowRun:
        return self._client.get(repo, f"/actions/runs/{run}", wire.WorkflowRun)

    def _check_runs(self, repo: str, head: Sha) -> Iterator[wire.CheckRun]:
        path = f"/commits/{head}/check-runs"
        return self._client.pages(repo, path, wire.CheckRun, items="check_runs", filter="latest")

    def _suites(self, repo: str, head: Sha) -> Iterator[wire.CheckSuite]:
        path = f"/commits/{head}/check-suites"
        return self._client.pages(repo, path, wire.CheckSuite, items="check_suites")

    def _workflows(self, repo: str, head: Sha) -> dict[int, wire.WorkflowRun]:
        """Return the workflow runs of a commit by their check suite."""
        found = self._client.pages(
            repo, "/actions/runs", wire.WorkflowRun, items="workflow_runs", head_sha=head
        )
        return {run.check_suite_id: run for run in found}

    def _statuses(self, repo: str, head: Sha) -> Iterator[Check]:
        path = f"/commits/{head}/status"
        for status in self._client.pages(repo, path, wire.Status, items="statuses"):
            yield Check(
                name=status.context,
                kind=CheckKind.STATUS,
                state=STATUS_STATES.get(status.state, CheckState.FAILED),
                url=status.target_url or "",
                summary=status.description or "",
            )

    def _check(
        self, repo: str, run: wire.CheckRun, workflows: Mapping[int, wire.WorkflowRun]
    ) -> Check:
        state = _state(run.status, run.conclusion)
        link = _JOB_LINK.search(run.details_url or "")
        actions = run.app is not None and run.app.slug == ACTIONS
        failed = actions and state is CheckState.FAILED
        job = self._job(repo, run.id) if failed else None
        is_job = job is not None or (actions and link is not None and int(link[2]) == run.id)
        workflow = workflows.get(run.check_suite.id) if actions and run.check_suite else None
        return Check(
            name=run.name,
            kind=CheckKind.JOB if is_job else CheckKind.CHECK_RUN,
            state=state,
            id=run.id,
            workflow_run=workflow.id if workflow else job.run_id if job else 0,
            workflow_path=_path(workflow),
            failed_steps=tuple(s.name for s in job.steps if _red(s)) if job else (),
            url=run.html_url or run.details_url or "",
            summary=run.output.title or run.output.summary or "",
        )

    def _job(self, repo: str, job: int) -> wire.Job | None:
        """Return the job with a check run's id, None for a check run that a job created."""
        try:
            return self._client.get(repo, f"/actions/jobs/{job}", wire.Job)
        except Gone:
            return None


def _announced(
    suites: Iterable[wire.CheckSuite],
    runs: Sequence[wire.CheckRun],
    workflows: Mapping[int, wire.WorkflowRun],
) -> Iterator[Check]:
    """Yield a check for each suite of Actions that says more than its check runs do."""
    pending = {r.check_suite.id for r in runs if r.check_suite and r.status != "completed"}
    present = {r.check_suite.id for r in runs if r.check_suite}
    for suite in suites:
        state = _state(suite.status, suite.conclusion)
        if suite.conclusion == "action_required":
            state = CheckState.PENDING  # waits for a maintainer's consent to run at all
        waits = state is CheckState.PENDING and suite.id not in pending
        died = state is CheckState.FAILED and suite.id not in present
        if waits or died:
            workflow = workflows.get(suite.id)
            yield Check(
                name=_path(workflow) or "GitHub Actions",
                kind=CheckKind.CHECK_RUN,
                state=state,
                workflow_run=workflow.id if workflow else 0,
                workflow_path=_path(workflow),
                url=workflow.html_url if workflow else "",
                summary="The workflow could not be started." if died else "Announced, not begun.",
            )


def _state(status: str | None, conclusion: str | None) -> CheckState:
    if status != "completed":
        return CheckState.PENDING
    return STATES.get(conclusion, CheckState.NEUTRAL)


def _red(step: wire.Step) -> bool:
    return STATES.get(step.conclusion) is CheckState.FAILED


def _app_id(run: wire.CheckRun) -> int:
    return run.app.id if run.app else 0


def _path(workflow: wire.WorkflowRun | None) -> str:
    """Return the workflow file; GitHub may append `@ref` to it."""
    return workflow.path.partition("@")[0] if workflow else ""
