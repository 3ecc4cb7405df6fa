"""GitHub's JSON objects for check suites, check runs, statuses, workflow runs and jobs."""

from bot.simulator import shapes_pulls
from bot.simulator.clock import stamp, stamp_or_none
from bot.simulator.shapes import Shapes
from bot.simulator.state import Check, Job, Json, Repo, Status, Suite, WorkflowRun


def suite(shapes: Shapes, suite: Suite) -> Json:
    """Build a check suite."""
    url = f"{shapes.repo_url(suite.repo)}/check-suites/{suite.id}"
    return {
        "id": suite.id,
        "node_id": f"CS_{suite.id}",
        "url": url,
        "check_runs_url": f"{url}/check-runs",
        "head_branch": suite.head_branch,
        "head_sha": suite.head_sha,
        "status": suite.status,
        "conclusion": suite.conclusion,
        "before": suite.before,
        "after": suite.head_sha,
        "pull_requests": shapes_pulls.attached(shapes, suite.repo, suite.head_sha),
        "app": shapes.app(suite.app),
        "created_at": stamp(suite.created_at),
        "updated_at": stamp(suite.updated_at),
        "rerequestable": True,
        "runs_rerequestable": False,
        "latest_check_runs_count": len(shapes.state.latest_checks(suite)),
        "head_commit": shapes.simple_commit(suite.repo.git.commit(suite.head_sha)),
    }


def full_suite(shapes: Shapes, each: Suite) -> Json:
    """Build a check suite with its repository, as the REST API shows it."""
    return {**suite(shapes, each), "repository": shapes.repo(each.repo)}


def check(shapes: Shapes, check: Check) -> Json:
    """Build a check run; only its suite's number goes along, as the REST API has it."""
    repo = check.suite.repo
    url = f"{shapes.repo_url(repo)}/check-runs/{check.id}"
    html = f"{shapes.site}/{repo.full_name}/runs/{check.id}"
    return {
        "id": check.id,
        "node_id": f"CR_{check.id}",
        "name": check.name,
        "head_sha": check.suite.head_sha,
        "external_id": check.external_id,
        "url": url,
        "html_url": html,
        "details_url": check.details_url or html,
        "status": check.status,
        "conclusion": check.conclusion,
        "started_at": stamp_or_none(check.started_at),
        "completed_at": stamp_or_none(check.completed_at),
        "output": {
            "title": check.title,
            "summary": check.summary,
            "text": check.text,
            "annotations_count": len(check.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": check.suite.id},
        "app": shapes.app(check.suite.app),
        "pull_requests": shapes_pulls.attached(shapes, repo, check.suite.head_sha),
    }


def check_event(shapes: Shapes, each: Check) -> Json:
    """Build a check run with its whole suite, as webhooks carry it."""
    return {**check(shapes, each), "check_suite": suite(shapes, each.suite)}


def status(shapes: Shapes, status: Status) -> Json:
    """Build a commit status."""
    return {**simple_status(shapes, status), "creator": shapes.user(status.creator)}


def simple_status(shapes: Shapes, status: Status) -> Json:
    """Build a commit status as the combined status lists it."""
    return {
        "id": status.id,
        "node_id": f"SC_{status.id}",
        "url": f"{shapes.repo_url(status.repo)}/statuses/{status.sha}",
        "avatar_url": f"{shapes.site}/avatars/{status.creator.id}",
        "state": status.state,
        "context": status.context,
        "description": status.description,
        "target_url": status.target_url,
        "created_at": stamp(status.created_at),
        "updated_at": stamp(status.created_at),
    }


def combined_status(shapes: Shapes, repo: Repo, sha: str, shown: list[Status]) -> Json:
    """Build the combined status of a commit; *shown* is the page asked for."""
    newest = shapes.state.latest_statuses(repo, sha)
    states = {each.state for each in newest}
    failed = bool(states & {"failure", "error"})
    passed = bool(states) and "pending" not in states
    url = shapes.repo_url(repo)
    return {
        "state": "failure" if failed else "success" if passed else "pending",
        "sha": sha,
        "total_count": len(newest),
        "statuses": [simple_status(shapes, each) for each in shown],
        "repository": shapes.repo(repo),
        "commit_url": f"{url}/commits/{sha}",
        "url": f"{url}/commits/{sha}/status",
    }


def run_page(site: str, run: WorkflowRun) -> str:
    """Return the address of a workflow run's page."""
    return f"{site}/{run.suite.repo.full_name}/actions/runs/{run.id}"


def run(shapes: Shapes, run: WorkflowRun) -> Json:
    """Build a workflow run."""
    repo = run.suite.repo
    base = shapes.repo_url(repo)
    url = f"{base}/actions/runs/{run.id}"
    previous = f"{url}/attempts/{run.attempt - 1}" if run.attempt > 1 else None
    return {
        "id": run.id,
        "node_id": f"WFR_{run.id}",
        "name": run.name,
        "path": run.path,
        "display_title": run.title,
        "run_number": run.number,
        "run_attempt": run.attempt,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": run.workflow,
        "workflow_url": f"{base}/actions/workflows/{run.workflow}",
        "check_suite_id": run.suite.id,
        "check_suite_node_id": f"CS_{run.suite.id}",
        "check_suite_url": f"{base}/check-suites/{run.suite.id}",
        "head_branch": run.suite.head_branch,
        "head_sha": run.suite.head_sha,
        "head_commit": shapes.simple_commit(repo.git.commit(run.suite.head_sha)),
        "head_repository": shapes.repo(run.head_repo),
        "repository": shapes.repo(repo),
        "pull_requests": shapes_pulls.attached(shapes, repo, run.suite.head_sha),
        "referenced_workflows": [],
        "actor": shapes.user(run.actor),
        "triggering_actor": shapes.user(run.triggering),
        "created_at": stamp(run.created_at),
        "updated_at": stamp(run.updated_at),
        "run_started_at": stamp(run.started_at),
        "url": url,
        "html_url": run_page(shapes.site, run),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": previous,
    }


def workflow(shapes: Shapes, run: WorkflowRun) -> Json:
    """Build the workflow that a run belongs to, as webhooks carry it."""
    repo = run.suite.repo
    page = f"{shapes.site}/{repo.full_name}"
    return {
        "id": run.workflow,
        "node_id": f"W_{run.workflow}",
        "name": run.name,
        "path": run.path,
        "state": "active",
        "created_at": stamp(repo.created_at),
        "updated_at": stamp(repo.created_at),
        "url": f"{shapes.repo_url(repo)}/actions/workflows/{run.workflow}",
        "html_url": f"{page}/blob/{repo.default_branch}/{run.path}",
        "badge_url": f"{page}/workflows/{run.name}/badge.svg",
    }


def job(shapes: Shapes, run: WorkflowRun, job: Job) -> Json:
    """Build one job of a workflow run."""
    base = shapes.repo_url(run.suite.repo)
    started = job.check.started_at or job.created_at
    ran = bool(job.steps) or job.check.status == "in_progress"
    return {
        "id": job.id,
        "node_id": f"CR_{job.id}",
        "run_id": run.id,
        "run_attempt": job.attempt,
        "run_url": f"{base}/actions/runs/{run.id}",
        "url": f"{base}/actions/jobs/{job.id}",
        "html_url": f"{run_page(shapes.site, run)}/job/{job.id}",
        "check_run_url": f"{base}/check-runs/{job.id}",
        "name": job.check.name,
        "workflow_name": run.name,
        "head_branch": run.suite.head_branch,
        "head_sha": run.suite.head_sha,
        "status": job.check.status,
        "conclusion": job.check.conclusion,
        "created_at": stamp(job.created_at),
        "started_at": stamp(started),
        "completed_at": stamp_or_none(job.check.completed_at),
        "steps": job.steps,
        "labels": ["ubuntu-latest"],
        "runner_id": 1 if ran else None,
        "runner_name": "GitHub Actions 1" if ran else None,
        "runner_group_id": 0 if ran else None,
        "runner_group_name": "GitHub Actions" if ran else None,
    }
