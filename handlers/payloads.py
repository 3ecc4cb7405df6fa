"""GitHub's JSON into events; nothing else knows its field names.

Each event has one typed shape that holds only what we use, so an event name that was swapped for
another (the header is not signed) does not fit and is refused. Everything GitHub may leave null is
null here too: recorded traffic, not the documentation, decides.
https://docs.github.com/en/webhooks/webhook-events-and-payloads

What our own interface takes in goes through the same inbox, under names that begin with `regreen.`;
the endpoint for webhooks refuses those, so that nobody but us can have stored one.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from bot.domain.errors import Broken
from bot.domain.events import (
    ButtonPressed,
    Change,
    ChecksChanged,
    CommandGiven,
    Event,
    GateAnswered,
    InstallationChanged,
    Pinged,
    PullChanged,
    RetryAsked,
    Unused,
)
from bot.domain.values import SCRATCH, PullRef, Sha, Value

OWN_PREFIX = "regreen."  # no event of GitHub's has a dot in its name
APPROVAL, RETRY = "regreen.approval", "regreen.retry"

COMMAND = re.compile(r"\s*\n {0,3}/regreen(?:\s|$)", re.IGNORECASE)  # four spaces make it code
FAILING = frozenset({"failure", "timed_out", "startup_failure"})
CHANGES: Mapping[str, Change] = {
    "opened": Change.OPENED,
    "synchronize": Change.PUSHED,
    "closed": Change.CLOSED,
    "reopened": Change.REOPENED,
}
INSTALLATION_ACTIONS = frozenset(
    {"created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"}
)

Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{7,64}\Z")]
RepoName = Annotated[str, Meta(pattern=r"^[^/\s]+/[^/\s]+\Z")]
Number = Annotated[int, Meta(ge=1)]


class Known(Value, frozen=True):
    """Who we are, and which bots may give commands (numeric ids); 0 when we do not know."""

    app_id: int = 0
    bots: frozenset[int] = frozenset()


class Account(Value, frozen=True):
    """A user, a bot or an organisation."""

    login: str
    id: int
    type: str = ""


class Repository(Value, frozen=True):
    """The repository that a delivery is about."""

    id: int
    full_name: RepoName


class Identified(Value, frozen=True):
    """An object of which only the id matters."""

    id: int | None = None


class Base(Value, frozen=True):
    """The base of an attached pull request."""

    repo: Identified


class Attached(Value, frozen=True):
    """A pull request as checks and workflow runs carry it."""

    number: Number
    base: Base


class Suite(Value, frozen=True):
    """The check suite that a check run belongs to."""

    head_branch: str | None = None


class CheckRun(Value, frozen=True):
    """A check run."""

    name: str
    head_sha: Hex
    conclusion: str | None = None
    external_id: str | None = None
    app: Identified | None = None
    pull_requests: tuple[Attached | None, ...] = ()
    check_suite: Suite | None = None


class CheckSuite(Value, frozen=True):
    """A check suite."""

    head_sha: Hex
    conclusion: str | None = None
    app: Identified | None = None
    pull_requests: tuple[Attached | None, ...] = ()
    head_branch: str | None = None


class WorkflowRun(Value, frozen=True):
    """A run of a workflow; `name` is null when the workflow file has none."""

    head_sha: Hex
    name: str | None = None
    path: str = ""
    conclusion: str | None = None
    pull_requests: tuple[Attached | None, ...] = ()
    head_branch: str | None = None


class RequestedAction(Value, frozen=True):
    """The button that was pressed."""

    identifier: str = ""


class CheckRunPayload(Value, frozen=True):
    """A `check_run` delivery."""

    action: str
    check_run: CheckRun
    repository: Repository
    sender: Account
    requested_action: RequestedAction | None = None


class CheckSuitePayload(Value, frozen=True):
    """A `check_suite` delivery."""

    action: str
    check_suite: CheckSuite
    repository: Repository
    sender: Account


class WorkflowRunPayload(Value, frozen=True):
    """A `workflow_run` delivery."""

    action: str
    workflow_run: WorkflowRun
    repository: Repository


class StatusPayload(Value, frozen=True):
    """A `status` delivery: CI outside Actions."""

    sha: Hex
    state: str
    context: str
    repository: Repository


class Head(Value, frozen=True):
    """The head of a pull request; its repository is null when the fork was deleted."""

    sha: Hex


class PullRequest(Value, frozen=True):
    """A pull request."""

    head: Head


class PullRequestPayload(Value, frozen=True):
    """A `pull_request` delivery."""

    action: str
    number: Number
    pull_request: PullRequest
    repository: Repository


class Issue(Value, frozen=True):
    """An issue; `pull_request` is there only when it is one."""

    number: Number
    pull_request: dict[str, object] | None = None


class IssueComment(Value, frozen=True):
    """A comment; its user is null when the account was deleted."""

    id: int
    body: str | None = None
    user: Account | None = None
    performed_via_github_app: Identified | None = None


class IssueCommentPayload(Value, frozen=True):
    """An `issue_comment` delivery."""

    action: str
    issue: Issue
    comment: IssueComment
    repository: Repository
    sender: Account


class Installation(Value, frozen=True):
    """An installation of an App."""

    id: int


class Named(Value, frozen=True):
    """A repository in a list of an installation."""

    full_name: str = ""


class InstallationPayload(Value, frozen=True):
    """An `installation` delivery."""

    action: str
    installation: Installation
    repositories: tuple[Named, ...] = ()


class InstallationRepositoriesPayload(Value, frozen=True):
    """An `installation_repositories` delivery."""

    action: str
    installation: Installation
    repositories_added: tuple[Named, ...] = ()
    repositories_removed: tuple[Named, ...] = ()


class PingPayload(Value, frozen=True):
    """A `ping` delivery."""

    zen: str = ""
    hook_id: int | None = None


Shape = TypeVar("Shape", bound=Value)


def parse(
    event: str, body: bytes, *, app_id: int = 0, bots: frozenset[int] = frozenset()
) -> Event | Unused:
    """Return what a delivery tells us; raise `Broken`, naming the field, when it does not fit.

    `app_id` is our own App, whose checks and comments are not news; `bots` are the numeric ids of
    bots that may give commands.
    """
    parser = PARSERS.get(event) or OWN_PARSERS.get(event)
    if parser is None:
        return Unused(f"{event} events are not used")
    try:
        return parser(body, Known(app_id, bots))
    except msgspec.MsgspecError as error:
        raise Broken(f"{event}: {error}") from error
    except RecursionError as error:
        raise Broken(f"{event}: the JSON is nested too deeply") from error


def ping(body: bytes, _: Known) -> Event | Unused:
    """Read a `ping`."""
    return Pinged(_read(body, PingPayload).zen)


def pull_request(body: bytes, _: Known) -> Event | Unused:
    """Read a `pull_request`: new, pushed to, closed or reopened."""
    payload = _read(body, PullRequestPayload)
    change = CHANGES.get(payload.action)
    if change is None:
        return _unused_action(payload.action)
    pull = PullRef(payload.repository.full_name, payload.number)
    return PullChanged(pull, Sha(payload.pull_request.head.sha), change)


def check_run(body: bytes, known: Known) -> Event | Unused:
    """Read a `check_run`: another App's has completed, or a button of ours was pressed."""
    payload = _read(body, CheckRunPayload)
    run = payload.check_run
    if payload.action == "completed":
        if _ours(run.app, known):
            return Unused("the check run is our own")
        return _completed(payload.repository, run, run.name)
    if payload.action == "rerequested":
        return _pressed(payload, run, "rerun", known)
    if payload.action == "requested_action":
        pressed = payload.requested_action.identifier if payload.requested_action else ""
        return _pressed(payload, run, pressed, known)
    return _unused_action(payload.action)


def check_suite(body: bytes, known: Known) -> Event | Unused:
    """Read a `check_suite`: another App's has completed, or ours was asked to run again."""
    payload = _read(body, CheckSuitePayload)
    suite = payload.check_suite
    if payload.action == "completed":
        if _ours(suite.app, known):
            return Unused("the check suite is our own")
        return _completed(payload.repository, suite, "check suite")
    if payload.action == "rerequested":
        return _pressed(payload, suite, "rerun", known)
    return _unused_action(payload.action)


def workflow_run(body: bytes, _: Known) -> Event | Unused:
    """Read a `workflow_run` that has completed, whatever its end: it may be the last one."""
    payload = _read(body, WorkflowRunPayload)
    if payload.action != "completed":
        return _unused_action(payload.action)
    run = payload.workflow_run
    return _completed(payload.repository, run, run.name or run.path or "workflow run")


def status(body: bytes, _: Known) -> Event | Unused:
    """Read a `status` that is not pending; no pull request is attached to one."""
    payload = _read(body, StatusPayload)
    if payload.state == "pending":
        return Unused("the status is pending")
    red = payload.state in {"failure", "error"}
    return ChecksChanged(payload.repository.full_name, Sha(payload.sha), payload.context, red)


def issue_comment(body: bytes, known: Known) -> Event | Unused:
    """Read an `issue_comment`: a new one on a pull request whose first line is a command."""
    payload = _read(body, IssueCommentPayload)
    comment = payload.comment
    if payload.action != "created":
        return _unused_action(payload.action)
    if payload.issue.pull_request is None:
        return Unused("the comment is on an issue")
    if _ours(comment.performed_via_github_app, known):
        return Unused("the comment is our own")
    author = comment.user
    if author is None:
        return Unused("the comment's author is gone")
    if not comment.body or not COMMAND.match(f"\n{comment.body}"):
        return Unused("the comment is not a command")
    if _unwelcome(author, known) or _unwelcome(payload.sender, known):
        return Unused(f"{author.login} is a bot", refused=True)
    pull = PullRef(payload.repository.full_name, payload.issue.number)
    return CommandGiven(pull, comment.id, author.login, author.id, comment.body)


def installation(body: bytes, _: Known) -> Event | Unused:
    """Read an `installation`."""
    payload = _read(body, InstallationPayload)
    if payload.action not in INSTALLATION_ACTIONS:
        return _unused_action(payload.action)
    repos = _names(payload.repositories)
    return InstallationChanged(payload.installation.id, payload.action, repos)


def installation_repositories(body: bytes, _: Known) -> Event | Unused:
    """Read an `installation_repositories`: some were added or removed."""
    payload = _read(body, InstallationRepositoriesPayload)
    if payload.action == "added":
        repos = _names(payload.repositories_added)
    elif payload.action == "removed":
        repos = _names(payload.repositories_removed)
    else:
        return _unused_action(payload.action)
    return InstallationChanged(payload.installation.id, payload.action, repos)


def approval(body: bytes, _: Known) -> Event | Unused:
    """Read a `regreen.approval`, which `own` wrote."""
    return msgspec.json.decode(body, type=GateAnswered)


def retry(body: bytes, _: Known) -> Event | Unused:
    """Read a `regreen.retry`, which `own` wrote."""
    return msgspec.json.decode(body, type=RetryAsked)


def own(event: GateAnswered | RetryAsked) -> tuple[str, bytes]:
    """Return the name and the body under which an event of our own interface is stored."""
    name = APPROVAL if isinstance(event, GateAnswered) else RETRY
    return name, msgspec.json.encode(event)


PARSERS: Mapping[str, Callable[[bytes, Known], Event | Unused]] = {
    "ping": ping,
    "pull_request": pull_request,
    "check_run": check_run,
    "check_suite": check_suite,
    "workflow_run": workflow_run,
    "status": status,
    "issue_comment": issue_comment,
    "installation": installation,
    "installation_repositories": installation_repositories,
}
OWN_PARSERS: Mapping[str, Callable[[bytes, Known], Event | Unused]] = {
    APPROVAL: approval,
    RETRY: retry,
}


def _read(body: bytes, shape: type[Shape]) -> Shape:
    return msgspec.json.decode(body, type=shape)


def _unused_action(action: str) -> Unused:
    return Unused(f"the action {action} is not used")


def _ours(app: Identified | None, known: Known) -> bool:
    return app is not None and known.app_id != 0 and app.id == known.app_id


def _unwelcome(account: Account, known: Known) -> bool:
    bot = account.type == "Bot" or account.login.endswith("[bot]")
    return bot and account.id not in known.bots


def _completed(
    repository: Repository, check: CheckRun | CheckSuite | WorkflowRun, name: str
) -> ChecksChanged:
    pull = _attached(repository, check) or _tried(repository, check)
    red = check.conclusion in FAILING
    return ChecksChanged(repository.full_name, Sha(check.head_sha), name, red, pull)


def _pressed(
    payload: CheckRunPayload | CheckSuitePayload,
    check: CheckRun | CheckSuite,
    button: str,
    known: Known,
) -> Event | Unused:
    if known.app_id and not _ours(check.app, known):
        return Unused("the check belongs to another App")
    if _unwelcome(payload.sender, known):
        return Unused(f"{payload.sender.login} is a bot", refused=True)
    pull = _attached(payload.repository, check)
    if pull is None and isinstance(check, CheckRun) and _ours(check.app, known):
        pull = _named(payload.repository, check.external_id or "")
    if pull is None:
        return Unused("no single pull request is attached: a command in a comment does the same")
    who = payload.sender
    return ButtonPressed(pull, Sha(check.head_sha), button, who.login, who.id)


def _attached(repository: Repository, check: CheckRun | CheckSuite | WorkflowRun) -> PullRef | None:
    """Return the attached pull request into this repository, when there is exactly one.

    The list is empty for forks, may name pull requests into other repositories, and names several
    when they share a head: those are found by the head.
    """
    numbers = {
        attached.number
        for attached in check.pull_requests
        if attached is not None and attached.base.repo.id == repository.id
    }
    return PullRef(repository.full_name, numbers.pop()) if len(numbers) == 1 else None


def _named(repository: Repository, external_id: str) -> PullRef | None:
    """Return the pull request that our own check run names as `owner/name#12`, as for forks."""
    repo, _, number = external_id.rpartition("#")
    if repo != repository.full_name or not re.fullmatch(r"[1-9][0-9]{0,17}", number):
        return None
    return PullRef(repo, int(number))


def _tried(repository: Repository, check: CheckRun | CheckSuite | WorkflowRun) -> PullRef | None:
    """Return the pull request whose change is tried on a scratch branch, as its name says."""
    suite = check.check_suite if isinstance(check, CheckRun) else check
    branch = (suite.head_branch if suite is not None else None) or ""
    found = re.fullmatch(rf"{SCRATCH}([1-9][0-9]{{0,17}})-[0-9]+", branch)
    return PullRef(repository.full_name, int(found[1])) if found else None


def _names(repositories: tuple[Named, ...]) -> tuple[str, ...]:
    return tuple(named.full_name for named in repositories if named.full_name)
