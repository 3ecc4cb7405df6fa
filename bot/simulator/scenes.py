"""What people, other services and bad days do to GitHub, beyond what its REST API offers.

Scenarios, the demo and the control addresses all act through these functions; the caller holds
the state's lock.
"""

from collections.abc import Mapping
from datetime import timedelta

from bot.simulator import auth, checks, pulls, runs
from bot.simulator.actions import StepResult
from bot.simulator.build import add_repo
from bot.simulator.clock import now
from bot.simulator.git import RefUpdate
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem, not_found
from bot.simulator.repos import NO_SHA
from bot.simulator.shapes_checks import check as check_shape
from bot.simulator.state import LEVELS, Check, Json, Pull, Repo, Status, User

_PERMISSION_EVENTS = {"suspend", "unsuspend", "deleted", "created", "new_permissions_accepted"}


def repo(hub: Hub, full_name: str) -> Repo:
    """Return a repository by `owner/name`, or raise the 404 Problem."""
    found = hub.state.repos.get(full_name)
    if found is None:
        raise not_found()
    return found


def fork_of(hub: Hub, target: Repo, by: User) -> Repo:
    """Return a person's fork of a repository, made when there is none."""
    name = f"{by.login}/{target.name}"
    if name not in hub.state.repos:
        add_repo(hub, name, target.git.path, parent=target)
    return hub.state.repos[name]


def commit(
    hub: Hub, target: Repo, branch: str, files: Mapping[str, str | None], message: str, by: User
) -> str:
    """Commit *files* (None deletes) to a branch, made from the default branch when it is new."""
    old = target.git.branch(branch)
    parent = old or target.git.branch(target.default_branch)
    if parent is None:
        raise not_found()
    sha = target.git.write(parent, files, message, (by.login, by.email))
    move_branch(hub, target, branch, sha, by)
    return sha


def move_branch(hub: Hub, target: Repo, branch: str, sha: str | None, by: User) -> None:
    """Point a branch at a commit, by force if need be; None deletes it."""
    old = target.git.branch(branch)
    target.git.move(f"refs/heads/{branch}", sha)
    update = RefUpdate(f"refs/heads/{branch}", old or NO_SHA, sha or NO_SHA)
    pulls.pushed(hub, target, [update], by)


def set_permission(hub: Hub, target: Repo, login: str, level: str) -> None:
    """Say what a person may do with a repository."""
    if level not in LEVELS:
        raise Problem(422, f"{level} is not one of {', '.join(LEVELS)}")
    user = hub.state.user(login)
    user.token = user.token or auth.new_person_token()
    target.people[login] = level


def press(hub: Hub, pull: Pull, button: str, by: User) -> Check:
    """Press a button of the App's newest completed check run that has it."""
    for suite in reversed(hub.state.suites_at(pull.repo, pull.head_sha)):
        for check in reversed(hub.state.checks_of(suite)):
            names = {name for each in check.actions for name in (each["identifier"], each["label"])}
            if suite.app is hub.app and check.status == "completed" and button in names:
                action = next(e for e in check.actions if button in {e["identifier"], e["label"]})
                chosen = {"identifier": action["identifier"]}
                checks.tell(hub, check, "requested_action", by, requested_action=chosen)
                return check
    raise Problem(404, f"No completed check run of the App shows a button {button}")


def fail_check(hub: Hub, pull: Pull, name: str, log: str, *, rerun: str, path: str) -> int:
    """Publish a workflow run whose one job failed with *log*; nothing is run. Return the job."""
    begun = runs.Start(
        repo=pull.repo,
        sha=pull.head_sha,
        branch=pull.head_branch,
        event="pull_request",
        action="synchronize",
        actor=pull.user,
        title=pull.title,
        head_repo=pull.head_repo or pull.repo,
        target=pull.base_branch,
        paths=(),
    )
    run = runs.new_run(hub, begun, path, "CI")
    at = now()
    ends = (("Set up job", "success"), (f"Run {name}", "failure"), ("Complete job", "success"))
    steps = tuple(StepResult(n, i, end, at, at) for i, (n, end) in enumerate(ends, 1))
    spec = runs.Scripted("failure", _as_log(name, log), steps, rerun)
    runs.tell(hub, run, "requested")
    job = runs.add_job(hub, run, spec, name, name)
    runs.advance(hub, run)
    return job.id


def _as_log(name: str, text: str) -> bytes:
    """Dress plain output as the log of a failing step, line by line with its time."""
    if text.startswith("20") and "##[group]" in text:
        return text.encode()
    lines = [
        "##[group]Operating System",
        "##[endgroup]",
        f"##[group]Run {name}",
        "shell: /usr/bin/bash -e {0}",
        "##[endgroup]",
        *text.rstrip("\n").split("\n"),
        "##[error]Process completed with exit code 1.",
        "Cleaning up orphan processes",
    ]
    begun = now() - timedelta(seconds=len(lines))
    stamps = [(begun + timedelta(seconds=i)).strftime("%Y-%m-%dT%H:%M:%S") for i in range(9999)]
    return "".join(
        f"{at}.0000000Z {line}\n" for at, line in zip(stamps, lines, strict=False)
    ).encode()


def finish_check(
    hub: Hub, target: Repo, sha: str, name: str, *, conclusion: str, output: Json, app: str
) -> Json:
    """Publish a completed check run of another App, which has no job and no log."""
    other = hub.other_app(app)
    branch = next((p.head_branch for p in hub.state.pulls_at(target, sha)), None)
    suite = checks.new_suite(hub, target, other, sha, branch)
    check = checks.add_check(hub, suite, name)
    check.status, check.conclusion = "completed", conclusion
    check.started_at = check.completed_at = now()
    check.title, check.summary = output.get("title"), output.get("summary")
    check.text, check.annotations = output.get("text"), list(output.get("annotations") or [])
    checks.tell(hub, check, "created", other.bot)
    checks.tell(hub, check, "completed", other.bot)
    checks.settle_suite(hub, suite, other.bot)
    return check_shape(hub.shapes(), check)


def set_status(
    hub: Hub, target: Repo, sha: str, context: str, state: str, *, description: str | None, by: User
) -> None:
    """Publish a commit status, as a service outside Actions does."""
    number = hub.state.next_id()
    checks.add_status(
        hub, Status(number, target, sha, context, state, description, None, by, now())
    )


def delete_fork(hub: Hub, pull: Pull) -> None:
    """Delete the fork that a pull request came from; its head then shows nulls."""
    if pull.head_repo is None or not pull.from_fork:
        raise Problem(422, "The pull request does not come from a fork")
    gone = pull.head_repo
    del hub.state.repos[gone.full_name]
    for other in hub.state.pulls:
        if other.head_repo is gone:
            other.head_repo = None


def installation_event(hub: Hub, account: User, action: str, by: User) -> None:
    """Suspend, unsuspend, delete or create the App's installation on an account."""
    if action not in _PERMISSION_EVENTS:
        raise Problem(422, f"{action} is not one of {', '.join(sorted(_PERMISSION_EVENTS))}")
    installation = hub.installation(account)
    if installation is None:
        raise not_found()
    covered = [r for r in hub.state.repos.values() if r.owner is account and r.installed]
    if action in {"suspend", "unsuspend"}:
        installation.suspended_at = now() if action == "suspend" else None
    body: Json = {"action": action, "repositories": [_short(each) for each in covered]}
    if action == "created":
        body["requester"] = None
    hub.emit_installation("installation", installation, by, body)
    if action == "deleted":
        del hub.state.installations[installation.id]
        for repo in covered:
            repo.installed = False


def change_repos(hub: Hub, target: Repo, *, installed: bool, by: User) -> None:
    """Add a repository to the App's installation or take it away."""
    installation = hub.installation(target.owner)
    if installation is None:
        raise not_found()
    target.installed = installed
    changed = [_short(target)]
    body = {
        "action": "added" if installed else "removed",
        "repository_selection": "selected",
        "repositories_added": changed if installed else [],
        "repositories_removed": [] if installed else changed,
        "requester": None,
    }
    hub.emit_installation("installation_repositories", installation, by, body)


def _short(target: Repo) -> Json:
    return {
        "id": target.id,
        "node_id": f"R_{target.id}",
        "name": target.name,
        "full_name": target.full_name,
        "private": target.private,
    }


def ping(hub: Hub) -> None:
    """Send the ping that a new webhook begins with."""
    at = "2020-01-01T00:00:00Z"
    hook = {
        "type": "App",
        "id": hub.app.id,
        "name": "web",
        "active": True,
        "app_id": hub.app.id,
        "events": list(hub.app.events),
        "config": {
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": "********",
            "url": hub.outbox.url,
        },
        "updated_at": at,
        "created_at": at,
        "deliveries_url": f"{hub.url}/app/hook/deliveries",
    }
    body = {"zen": "Keep it logically awesome.", "hook_id": hub.app.id, "hook": hook}
    hub.outbox.post("ping", body, installation=None, repository=None)
