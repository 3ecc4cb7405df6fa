"""What happens to check suites, check runs and statuses, and the events that tell of it."""

from bot.simulator import shapes_checks
from bot.simulator.clock import now, stamp
from bot.simulator.hub import Hub
from bot.simulator.state import App, Check, Json, Repo, Status, Suite, User


def new_suite(hub: Hub, repo: Repo, app: App, sha: str, branch: str | None) -> Suite:
    """Add a check suite to a commit."""
    parents = repo.git.commit(sha).parents
    number, at = hub.state.next_id(), now()
    before = parents[0] if parents else None
    suite = Suite(number, repo, app, sha, branch, before, at, at)
    hub.state.suites[number] = suite
    return suite


def own_suite(hub: Hub, repo: Repo, sha: str, branch: str | None) -> Suite:
    """Return the App's own suite at a commit, made when there is none."""
    found = (s for s in hub.state.suites_at(repo, sha) if s.app is hub.app)
    return next(found, None) or new_suite(hub, repo, hub.app, sha, branch)


def request_suite(hub: Hub, repo: Repo, sha: str, branch: str, sender: User) -> None:
    """Ask the App for its checks of a new head, as every push does."""
    if not repo.installed:
        return
    suite = own_suite(hub, repo, sha, branch)
    shape = shapes_checks.suite(hub.shapes(), suite)
    hub.emit("check_suite", repo, sender, {"action": "requested", "check_suite": shape})


def add_check(hub: Hub, suite: Suite, name: str) -> Check:
    """Add a check run to a suite; the caller fills it and tells of it."""
    check = Check(hub.state.next_id(), suite, name, started_at=now())
    hub.state.checks[check.id] = check
    return check


def tell(hub: Hub, check: Check, action: str, sender: User, **more: Json) -> None:
    """Send a `check_run` event."""
    shape = shapes_checks.check_event(hub.shapes(), check)
    body = {"action": action, "check_run": shape, **more}
    hub.emit("check_run", check.suite.repo, sender, body)


def settle_suite(hub: Hub, suite: Suite, sender: User) -> None:
    """Bring a suite up to date with its check runs; tell once when all of them are completed."""
    checks = hub.state.latest_checks(suite)
    before, suite.updated_at = suite.conclusion, now()
    if not all(check.status == "completed" for check in checks):
        suite.status, suite.conclusion = "in_progress", None
        return
    suite.status, suite.conclusion = "completed", worst([c.conclusion for c in checks])
    if suite.conclusion == before:
        return
    shape = shapes_checks.suite(hub.shapes(), suite)
    hub.emit("check_suite", suite.repo, sender, {"action": "completed", "check_suite": shape})


def worst(conclusions: list[str | None]) -> str:
    """Sum up conclusions the way a suite or a run does."""
    order = ("action_required", "failure", "timed_out", "cancelled", "success", "neutral")
    return next((each for each in order if each in conclusions), "skipped")


def add_status(hub: Hub, status: Status) -> None:
    """Record a commit status and tell of it; at most ten branches go along, none for forks."""
    hub.state.statuses.append(status)
    repo, shapes = status.repo, hub.shapes()
    heads = {ref: sha for ref, sha in repo.git.refs().items() if ref.startswith("refs/heads/")}
    names = [ref.removeprefix("refs/heads/") for ref, sha in heads.items() if sha == status.sha]
    commit = {"sha": status.sha, "url": f"{shapes.repo_url(repo)}/commits/{status.sha}"}
    body = {
        "id": status.id,
        "sha": status.sha,
        "name": repo.full_name,
        "context": status.context,
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "avatar_url": f"{shapes.site}/avatars/{status.creator.id}",
        "commit": shapes.commit(repo, repo.git.commit(status.sha)),
        "branches": [{"name": n, "commit": commit, "protected": False} for n in names[:10]],
        "created_at": stamp(status.created_at),
        "updated_at": stamp(status.created_at),
    }
    hub.emit("status", repo, status.creator, body)
