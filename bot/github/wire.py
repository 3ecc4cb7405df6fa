"""The fields of GitHub's JSON that we read, and no others.

Null stands wherever recorded traffic had null: the repository of a deleted fork, the author of a
comment whose account is gone.
"""

from datetime import datetime
from typing import Any

import msgspec

from bot.domain.values import Value


class User(Value, frozen=True):
    """Who did something; `type` is User, Bot or Organization."""

    login: str
    id: int
    type: str = "User"


class AppRef(Value, frozen=True):
    """The App behind a check or a comment."""

    id: int
    slug: str | None = None


class App(Value, frozen=True):
    """`GET /app`: ourselves."""

    id: int
    name: str
    slug: str = ""
    html_url: str = ""
    permissions: dict[str, str] = msgspec.field(default_factory=dict)
    events: list[str] = msgspec.field(default_factory=list)


class Installation(Value, frozen=True):
    """One installation of the App."""

    id: int
    suspended_at: datetime | None = None


class Token(Value, frozen=True):
    """A freshly minted installation token."""

    token: str
    expires_at: datetime


class Repository(Value, frozen=True):
    """A repository."""

    full_name: str
    clone_url: str = ""
    archived: bool = False


class RepositoryRef(Value, frozen=True):
    """The repository at one end of a pull request."""

    full_name: str


class Branch(Value, frozen=True):
    """One end of a pull request; `repo` is null when the fork was deleted."""

    ref: str
    sha: str
    repo: RepositoryRef | None = None


class Pull(Value, frozen=True):
    """A pull request."""

    number: int
    title: str
    state: str
    head: Branch
    base: Branch
    user: User | None = None
    draft: bool = False


class Comment(Value, frozen=True):
    """A comment of an issue or pull request."""

    id: int
    created_at: datetime
    body: str | None = None
    user: User | None = None
    performed_via_github_app: AppRef | None = None


class Output(Value, frozen=True):
    """What a check run says."""

    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations_count: int = 0


class SuiteRef(Value, frozen=True):
    """The suite that a check run belongs to."""

    id: int


class CheckRun(Value, frozen=True):
    """A check run; for an Actions job its id is the job's."""

    id: int
    name: str
    status: str
    conclusion: str | None = None
    external_id: str | None = None
    html_url: str | None = None
    details_url: str | None = None
    app: AppRef | None = None
    check_suite: SuiteRef | None = None
    output: Output = Output()


class CheckSuite(Value, frozen=True):
    """A check suite: what one App has to say about one commit."""

    id: int
    status: str | None
    conclusion: str | None = None
    app: AppRef | None = None
    latest_check_runs_count: int = 0


class Annotation(Value, frozen=True):
    """A note of a check run on a line."""

    path: str
    start_line: int
    annotation_level: str | None
    message: str | None


class Status(Value, frozen=True):
    """A commit status."""

    context: str
    state: str
    description: str | None = None
    target_url: str | None = None


class WorkflowRun(Value, frozen=True):
    """A run of a workflow; `path` may carry `@ref`."""

    id: int
    path: str
    status: str | None = None
    conclusion: str | None = None
    check_suite_id: int = 0
    run_attempt: int = 1
    html_url: str = ""


class Step(Value, frozen=True):
    """A step of a job."""

    name: str
    conclusion: str | None = None


class Job(Value, frozen=True):
    """A job of a workflow run."""

    id: int
    run_id: int
    steps: list[Step] = msgspec.field(default_factory=list)


class Content(Value, frozen=True):
    """A file in a repository; over 1 MB `encoding` is `none` and `content` empty."""

    type: str
    encoding: str = ""
    content: str = ""


class Target(Value, frozen=True):
    """What a git ref points at."""

    sha: str


class Ref(Value, frozen=True):
    """A git ref; of a branch, `object` is its commit."""

    object: Target


class Permission(Value, frozen=True):
    """What a person may do: admin, write, read or none."""

    permission: str


class Problem(Value, frozen=True):
    """The body of an error."""

    message: str = ""
    errors: list[Any] = msgspec.field(default_factory=list)
