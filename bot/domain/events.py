"""What GitHub told us, in the past tense. A hint: the facts are fetched."""

from enum import StrEnum

from bot.domain.values import PullRef, Sha, Variant


class ChecksChanged(Variant, frozen=True):
    """A check, suite, workflow run or status at `head` completed.

    `pull` is None when GitHub attached none, as it does for forks: it is found by the head.
    `red` is false when the delivery itself tells of a success.
    """

    repo: str
    head: Sha
    name: str
    red: bool
    pull: PullRef | None = None


class Change(StrEnum):
    """What happened to a pull request."""

    OPENED = "opened"
    PUSHED = "pushed"
    CLOSED = "closed"
    REOPENED = "reopened"


class PullChanged(Variant, frozen=True):
    """A pull request was opened, closed or got a new head."""

    pull: PullRef
    head: Sha
    change: Change


class CommandGiven(Variant, frozen=True):
    """A person wrote a comment that begins with `/regreen`; `body` is what it said then."""

    pull: PullRef
    comment: int
    author: str
    author_id: int
    body: str


class ButtonPressed(Variant, frozen=True):
    """A person pressed a button of our check run, or asked to re-run it."""

    pull: PullRef
    head: Sha
    button: str
    author: str
    author_id: int


class GateAnswered(Variant, frozen=True):
    """An approval came over the API: `by` is the GitHub login whose word it is."""

    pull: PullRef
    gate: str
    approved: bool
    sha: Sha
    by: str
    reason: str = ""


class RetryAsked(Variant, frozen=True):
    """Another try of a run was asked for over the API, in the name of `by`."""

    pull: PullRef
    run: str
    by: str


class InstallationChanged(Variant, frozen=True):
    """The App was installed, removed, suspended or given other repositories."""

    installation: int
    action: str
    repos: tuple[str, ...] = ()


class Swept(Variant, frozen=True):
    """Our own periodic look found that this pull request may need attention."""

    pull: PullRef


class Pinged(Variant, frozen=True):
    """GitHub says hello."""

    zen: str = ""


Event = (
    ChecksChanged
    | PullChanged
    | CommandGiven
    | ButtonPressed
    | GateAnswered
    | RetryAsked
    | InstallationChanged
    | Swept
    | Pinged
)


class Unused(Variant, frozen=True):
    """A genuine delivery that asks nothing of us, and why.

    `refused` says that it did ask, and that who asked may not.
    """

    reason: str
    refused: bool = False
