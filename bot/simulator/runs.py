"""Workflow runs: started by events, run job by job on a few runners, re-run, cancelled.

A run owns one check suite; each job is a check run of it. A job starts when all it needs are done.
When a run ends the events leave in GitHub's usual order: check_run, workflow_run, check_suite.
Re-running adds jobs to a new attempt on the same commit; the jobs that are not run again stand.
"""

import shutil
import traceback
from dataclasses import dataclass

from bot.simulator import checks, shapes_checks
from bot.simulator.actions import (
    Inputs,
    JobResult,
    JobSpec,
    StepResult,
    WorkflowError,
    jobs_of,
    run_job,
    should_run,
)
from bot.simulator.clock import now, stamp
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem
from bot.simulator.state import Job, Json, Pull, Repo, User, WorkflowRun

FOLDER = ".github/workflows"


@dataclass(frozen=True, slots=True)
class Start:
    """What starts workflows: an event at a commit of a repository."""

    repo: Repo
    sha: str
    branch: str
    event: str
    action: str
    actor: User
    title: str
    head_repo: Repo
    target: str  # the branch that the workflow's filters are about: pushed, or the pull's base
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scripted:
    """A job that nothing runs: its end is told beforehand, and so is the end of a re-run."""

    conclusion: str
    log: bytes
    steps: tuple[StepResult, ...]
    rerun: str


def for_pull(hub: Hub, pull: Pull, action: str, actor: User) -> None:
    """Start the workflows of a pull request's head, in place of those of its older heads."""
    for run in [r for r in hub.state.runs.values() if r.event == "pull_request"]:
        same = run.suite.repo is pull.repo and run.suite.head_branch == pull.head_branch
        if same and run.head_repo is (pull.head_repo or pull.repo):
            cancel(hub, run)
    base = pull.repo.git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    start(
        hub,
        Start(
            repo=pull.repo,
            sha=pull.head_sha,
            branch=pull.head_branch,
            event="pull_request",
            action=action,
            actor=actor,
            title=pull.title,
            head_repo=pull.head_repo or pull.repo,
            target=pull.base_branch,
            paths=tuple(each.path for each in pull.repo.git.changes(base, pull.head_sha)),
        ),
    )


def start(hub: Hub, begun: Start) -> None:
    """Start every workflow of the commit that the event starts."""
    if not hub.run_workflows:
        return
    git = begun.repo.git
    for entry in git.listing(begun.sha, FOLDER):
        if not entry.path.endswith((".yml", ".yaml")):
            continue
        text = (git.file(begun.sha, entry.path) or b"").decode(errors="replace")
        try:
            specs = jobs_of(
                text, begun.event, action=begun.action, branch=begun.target, paths=begun.paths
            )
        except WorkflowError:
            _finish(hub, new_run(hub, begun, entry.path, ""), "startup_failure")
            continue
        if specs:
            run = new_run(hub, begun, entry.path, specs[0].workflow_name)
            _queue(hub, run, specs)


def new_run(hub: Hub, begun: Start, path: str, name: str) -> WorkflowRun:
    """Add a workflow run with its suite; the caller adds the jobs."""
    state, at = hub.state, now()
    suite = checks.new_suite(hub, begun.repo, hub.actions, begun.sha, begun.branch)
    key = (begun.repo.id, path)
    workflow = state.workflows.setdefault(key, state.next_id())
    earlier = sum(r.workflow == workflow for r in state.runs.values())
    run = WorkflowRun(
        id=state.next_id(),
        suite=suite,
        number=earlier + 1,
        workflow=workflow,
        name=name or path,
        path=path,
        event=begun.event,
        actor=begun.actor,
        triggering=begun.actor,
        created_at=at,
        updated_at=at,
        started_at=at,
        title=begun.title,
        head_repo=begun.head_repo,
    )
    state.runs[run.id] = run
    return run


def add_job(hub: Hub, run: WorkflowRun, spec: JobSpec | Scripted, name: str, key: str) -> Job:
    """Add a queued job and its check run."""
    check = checks.add_check(hub, run.suite, name)
    check.external_id = f"{run.id}-{check.id}"
    check.details_url = f"{shapes_checks.run_page(hub.url, run)}/job/{check.id}"
    needs = spec.needs if isinstance(spec, JobSpec) else ()
    job = Job(check, run.attempt, key, needs, spec, now())
    run.jobs.append(job)
    hub.state.jobs[job.id] = (run, job)
    checks.tell(hub, check, "created", run.triggering)
    _tell_job(hub, run, job, "queued")
    return job


def _queue(hub: Hub, run: WorkflowRun, specs: list[JobSpec]) -> None:
    tell(hub, run, "requested")
    for spec in specs:
        add_job(hub, run, spec, spec.name, spec.id)
    advance(hub, run)


def tell(hub: Hub, run: WorkflowRun, action: str) -> None:
    """Send a `workflow_run` event."""
    shapes = hub.shapes()
    body = {
        "action": action,
        "workflow": shapes_checks.workflow(shapes, run),
        "workflow_run": shapes_checks.run(shapes, run),
    }
    hub.emit("workflow_run", run.suite.repo, run.triggering, body)


def _tell_job(hub: Hub, run: WorkflowRun, job: Job, action: str) -> None:
    shape = shapes_checks.job(hub.shapes(), run, job)
    body = {"action": action, "workflow_job": shape}
    hub.emit("workflow_job", run.suite.repo, run.triggering, body)


def advance(hub: Hub, run: WorkflowRun) -> None:
    """Hand out every job whose needs are done; finish the run when none is left."""
    moved = True
    while moved:
        moved = False
        for job in run.latest():
            if job.check.status == "queued" and not job.handed and _ready(run, job):
                moved = _hand_out(hub, run, job) or moved
    latest = run.latest()
    if run.status != "completed" and all(job.check.status == "completed" for job in latest):
        _finish(hub, run, checks.worst([job.check.conclusion for job in latest]))


def _ready(run: WorkflowRun, job: Job) -> bool:
    needed = [other for other in run.latest() if other.key in job.needs]
    return all(other.check.status == "completed" for other in needed)


def _hand_out(hub: Hub, run: WorkflowRun, job: Job) -> bool:
    """Give a job to a runner, or end it unrun; True when it has ended."""
    if run.cancelled:
        end_job(hub, run, job, JobResult("cancelled", (), b""))
        return True
    if isinstance(job.spec, Scripted):
        end_job(hub, run, job, JobResult(job.spec.conclusion, job.spec.steps, job.spec.log))
        return True
    try:
        wanted = should_run(job.spec, _needs(run, job), _environment(hub, run))
    except WorkflowError as error:
        end_job(hub, run, job, JobResult("failure", (), f"##[error]{error}\n".encode()))
        return True
    if not wanted:
        end_job(hub, run, job, JobResult("skipped", (), b""))
        return True
    job.handed = True
    hub.runners.submit(_execute, hub, run, job)
    return False


def _needs(run: WorkflowRun, job: Job) -> dict[str, str]:
    ends: dict[str, list[str | None]] = {}
    for other in run.latest():
        if other.key in job.needs:
            ends.setdefault(other.key, []).append(other.check.conclusion)
    return {key: checks.worst(conclusions) for key, conclusions in ends.items()}


def _execute(hub: Hub, run: WorkflowRun, job: Job) -> None:
    """Run one job on a runner thread, from its beginning to its published end."""
    with hub.state.lock:
        result = JobResult("cancelled", (), b"")
        needs, cancelled = _needs(run, job), run.cancelled
        if not cancelled:
            _begin(hub, run, job)
    if not cancelled:
        result = _really_run(hub, run, job, needs)
    with hub.state.lock:
        end_job(hub, run, job, result)
        advance(hub, run)


def _really_run(hub: Hub, run: WorkflowRun, job: Job, needs: dict[str, str]) -> JobResult:
    folder = hub.work / str(job.id) / run.suite.repo.name
    try:
        run.suite.repo.git.checkout(run.suite.head_sha, folder)
        return run_job(
            job.spec,
            folder,
            env=_environment(hub, run),
            stopped=lambda: run.cancelled,
            inputs=Inputs(needs=needs),
        )
    except Exception:  # noqa: BLE001 - a runner that crashes is a failed job, as at GitHub
        return JobResult("failure", (), f"##[error]{traceback.format_exc()}".encode())
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _environment(hub: Hub, run: WorkflowRun) -> dict[str, str]:
    repo, head = run.suite.repo, run.suite.head_branch or ""
    pulls = [p for p in hub.state.pulls_at(repo, run.suite.head_sha) if p.head_branch == head]
    pull = pulls[-1] if pulls and run.event == "pull_request" else None
    return {
        "PATH": hub.path,
        "GITHUB_REPOSITORY": repo.full_name,
        "GITHUB_REPOSITORY_OWNER": repo.owner.login,
        "GITHUB_SHA": run.suite.head_sha,
        "GITHUB_REF": f"refs/pull/{pull.number}/merge" if pull else f"refs/heads/{head}",
        "GITHUB_REF_NAME": f"{pull.number}/merge" if pull else head,
        "GITHUB_HEAD_REF": head if pull else "",
        "GITHUB_BASE_REF": pull.base_branch if pull else "",
        "GITHUB_EVENT_NAME": run.event,
        "GITHUB_ACTOR": run.actor.login,
        "GITHUB_RUN_ID": str(run.id),
        "GITHUB_RUN_NUMBER": str(run.number),
        "GITHUB_RUN_ATTEMPT": str(run.attempt),
        "GITHUB_SERVER_URL": hub.url,
        "GITHUB_API_URL": hub.url,
    }


def _begin(hub: Hub, run: WorkflowRun, job: Job) -> None:
    job.check.status, job.check.started_at = "in_progress", now()
    _tell_job(hub, run, job, "in_progress")
    if run.status == "queued":
        run.status, run.suite.status = "in_progress", "in_progress"
        run.updated_at = now()
        tell(hub, run, "in_progress")


def end_job(hub: Hub, run: WorkflowRun, job: Job, result: JobResult) -> None:
    """Publish how a job ended: its steps, its log, its annotations, its check run."""
    check, at = job.check, now()
    check.status, check.conclusion = "completed", result.conclusion
    check.started_at, check.completed_at = check.started_at or at, at
    check.annotations = [
        {
            "path": each.path,
            "start_line": max(each.line, 1),
            "end_line": max(each.line, 1),
            "annotation_level": each.level,
            "message": each.message,
        }
        for each in result.annotations
    ]
    job.log = result.log
    job.steps = [_step(each) for each in result.steps]
    _tell_job(hub, run, job, "completed")
    checks.tell(hub, check, "completed", run.triggering)


def _step(step: StepResult) -> Json:
    return {
        "name": step.name,
        "status": "completed",
        "conclusion": step.conclusion,
        "number": step.number,
        "started_at": stamp(step.started_at),
        "completed_at": stamp(step.completed_at),
    }


def _finish(hub: Hub, run: WorkflowRun, conclusion: str) -> None:
    run.status, run.conclusion, run.updated_at = "completed", conclusion, now()
    tell(hub, run, "completed")
    suite = run.suite
    suite.status, suite.conclusion, suite.updated_at = "completed", conclusion, now()
    shape = shapes_checks.suite(hub.shapes(), suite)
    body = {"action": "completed", "check_suite": shape}
    hub.emit("check_suite", suite.repo, run.triggering, body)


def rerun(hub: Hub, run: WorkflowRun, jobs: list[Job], by: User) -> None:
    """Run *jobs*, and all that need them, again on the same commit in a new attempt."""
    if run.status != "completed":
        raise Problem(403, "This workflow is already running")
    again = _with_dependents(run, jobs)
    run.attempt += 1
    run.status, run.conclusion, run.cancelled = "queued", None, False
    run.triggering, run.started_at, run.updated_at = by, now(), now()
    run.suite.status, run.suite.conclusion = "queued", None
    tell(hub, run, "requested")
    for job in again:
        spec = job.spec
        if isinstance(spec, Scripted):
            spec = Scripted(spec.rerun, spec.log, spec.steps, spec.rerun)
        add_job(hub, run, spec, job.check.name, job.key)
    advance(hub, run)


def _with_dependents(run: WorkflowRun, jobs: list[Job]) -> list[Job]:
    keys = {job.key for job in jobs}
    names = {job.check.name for job in jobs}
    for job in run.latest():  # each stands after those it needs
        if keys & set(job.needs):
            keys.add(job.key)
            names.add(job.check.name)
    return [job for job in run.latest() if job.check.name in names]


def failed(run: WorkflowRun) -> list[Job]:
    """List the newest jobs that did not pass."""
    passed = {"success", "skipped", "neutral"}
    return [job for job in run.latest() if job.check.conclusion not in passed]


def cancel(hub: Hub, run: WorkflowRun) -> bool:
    """Stop a run; False when it has already ended."""
    if run.status == "completed":
        return False
    run.cancelled = True
    advance(hub, run)
    return True
