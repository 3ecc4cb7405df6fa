"""Everything the simulated GitHub knows besides git: people, pull requests, checks, runs, tokens.

All of it lives in memory, is changed only while `State.lock` is held, and dies with the process.
Numbers are given out once and never reused; a job and its check run share theirs, as at GitHub.
"""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bot.simulator.repos import GitRepo

Json = dict[str, Any]
LEVELS = ("none", "read", "write", "admin")


@dataclass(slots=True)
class User:
    """An account: a person, an organisation or a bot."""

    id: int
    login: str
    kind: str = "User"
    token: str = ""

    @property
    def email(self) -> str:
        return f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass(slots=True)
class App:
    """A GitHub App, its bot user, what it may do and what it hears of."""

    id: int
    slug: str
    name: str
    bot: User
    owner: User
    permissions: dict[str, str]
    events: tuple[str, ...]
    created_at: datetime


@dataclass(slots=True)
class Installation:
    """The App installed on one account."""

    id: int
    account: User
    created_at: datetime
    suspended_at: datetime | None = None


@dataclass(slots=True)
class Repo:
    """A repository; `parent` is set for forks, `people` maps logins to permissions."""

    id: int
    owner: User
    name: str
    git: GitRepo
    private: bool
    default_branch: str
    created_at: datetime
    pushed_at: datetime
    parent: "Repo | None" = None
    people: dict[str, str] = field(default_factory=dict)
    installed: bool = True
    last_pusher: User | None = None

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"


@dataclass(slots=True)
class Label:
    """A label of a repository."""

    id: int
    name: str


@dataclass(slots=True)
class Reaction:
    """A reaction to a comment."""

    id: int
    user: User
    content: str
    created_at: datetime


@dataclass(slots=True)
class Comment:
    """A comment on a pull request."""

    id: int
    repo: Repo
    number: int
    user: User
    body: str
    by_app: bool
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(slots=True)
class Pull:
    """A pull request; `head_repo` is None once a fork was deleted."""

    id: int
    issue_id: int
    number: int
    repo: Repo
    user: User
    title: str
    body: str | None
    head_repo: Repo | None
    head_branch: str
    head_sha: str
    base_branch: str
    base_sha: str
    created_at: datetime
    updated_at: datetime
    draft: bool = False
    open: bool = True
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit: str | None = None
    labels: list[Label] = field(default_factory=list)

    @property
    def from_fork(self) -> bool:
        return self.head_repo is not self.repo


@dataclass(slots=True)
class Suite:
    """A check suite: the check runs of one App (for Actions: of one workflow run) at one commit."""

    id: int
    repo: Repo
    app: App
    head_sha: str
    head_branch: str | None
    before: str | None
    created_at: datetime
    updated_at: datetime
    status: str = "queued"
    conclusion: str | None = None


@dataclass(slots=True)
class Check:
    """A check run."""

    id: int
    suite: Suite
    name: str
    status: str = "queued"
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    external_id: str = ""
    details_url: str | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[Json] = field(default_factory=list)
    actions: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """One job of one attempt of a workflow run; its number is its check run's."""

    check: Check
    attempt: int
    key: str
    needs: tuple[str, ...]
    spec: Any  # the runner's own description of the job; None when nothing is to be run
    created_at: datetime
    steps: list[Json] = field(default_factory=list)
    log: bytes = b""
    handed: bool = False  # to a runner, which has perhaps not begun

    @property
    def id(self) -> int:
        return self.check.id


@dataclass(slots=True)
class WorkflowRun:
    """A run of one workflow file; re-running adds an attempt with jobs of its own."""

    id: int
    suite: Suite
    number: int
    workflow: int
    name: str
    path: str
    event: str
    actor: User
    triggering: User
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    title: str
    head_repo: Repo
    attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    cancelled: bool = False
    jobs: list[Job] = field(default_factory=list)

    def latest(self) -> list[Job]:
        """List the newest job of each name, as the default listing does."""
        newest = {job.check.name: job for job in self.jobs}
        return list(newest.values())


@dataclass(slots=True)
class Status:
    """A commit status."""

    id: int
    repo: Repo
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    creator: User
    created_at: datetime


@dataclass(slots=True)
class Token:
    """An installation token; `repos` are the numbers of the repositories it reaches."""

    text: str
    installation: Installation
    repos: frozenset[int]
    permissions: dict[str, str]
    expires_at: datetime
    narrowed: bool


@dataclass(slots=True)
class LogLink:
    """A link to a job's log that needs no credentials and dies soon."""

    log: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EffectRecord:
    """One write request made by the App."""

    method: str
    path: str
    status: int
    at: datetime


@dataclass(slots=True)
class State:
    """The tables, and the lock that whoever reads or changes them holds."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    users: dict[str, User] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[tuple[int, str], Label] = field(default_factory=dict)
    suites: dict[int, Suite] = field(default_factory=dict)
    checks: dict[int, Check] = field(default_factory=dict)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    jobs: dict[int, tuple[WorkflowRun, Job]] = field(default_factory=dict)
    workflows: dict[tuple[int, str], int] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    links: dict[str, LogLink] = field(default_factory=dict)
    effects: list[EffectRecord] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def next_id(self) -> int:
        """Give out a number that nothing else has."""
        return next(self.numbers)

    def user(self, login: str, kind: str = "User") -> User:
        """Return the account with this login, made when it is new."""
        if login not in self.users:
            self.users[login] = User(self.next_id(), login, kind)
        return self.users[login]

    def pull(self, repo: Repo, number: int) -> Pull | None:
        """Return one pull request, or None."""
        return next((p for p in self.pulls if p.repo is repo and p.number == number), None)

    def pulls_at(self, repo: Repo, sha: str) -> list[Pull]:
        """List the pull requests of *repo* (as base) whose head is *sha*."""
        return [p for p in self.pulls if p.repo is repo and p.head_sha == sha]

    def comments_of(self, repo: Repo, number: int) -> list[Comment]:
        """List a pull request's comments, oldest first."""
        return [c for c in self.comments.values() if c.repo is repo and c.number == number]

    def suites_at(self, repo: Repo, sha: str) -> list[Suite]:
        """List the check suites of a commit, oldest first."""
        return [s for s in self.suites.values() if s.repo is repo and s.head_sha == sha]

    def checks_of(self, suite: Suite) -> list[Check]:
        """List a suite's check runs, oldest first."""
        return [c for c in self.checks.values() if c.suite is suite]

    def latest_checks(self, suite: Suite) -> list[Check]:
        """List a suite's newest check run of each name."""
        return list({check.name: check for check in self.checks_of(suite)}.values())

    def latest_statuses(self, repo: Repo, sha: str) -> list[Status]:
        """List the newest status of each context at a commit."""
        here = (s for s in self.statuses if s.repo is repo and s.sha == sha)
        return list({status.context: status for status in here}.values())

    def permission(self, repo: Repo, user: User) -> str:
        """Return what a person may do: none, read, write or admin."""
        if user.login == repo.owner.login:
            return "admin"
        return repo.people.get(user.login, "none" if repo.private else "read")
