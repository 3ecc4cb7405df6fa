"""What a run asks of the shell, and what comes back. Both unions are closed.

Every effect may be performed twice (a step that dies between acting and recording runs again), so
each carries the key by which the second time finds what the first one made.
"""

from datetime import datetime

from bot.domain.answers import Answer
from bot.domain.facts import RepairFacts
from bot.domain.runs import Run
from bot.domain.values import (
    Card,
    Check,
    Command,
    FailingStep,
    FailurePattern,
    Observation,
    PullRef,
    Question,
    RunId,
    Sha,
    Task,
    Value,
    Variant,
    Verification,
)


class ReadFacts(Variant, frozen=True):
    """Read the pull request, its checks and our comments."""

    pull: PullRef


class ReadFailures(Variant, frozen=True):
    """Read and classify the logs of the failing checks, and those that fail on the base as well."""

    pull: PullRef
    head: Sha
    base: Sha
    base_branch: str
    checks: tuple[Check, ...]
    patterns: tuple[FailurePattern, ...] = ()


class Comment(Variant, frozen=True):
    """Bring our comment up to date: edit `comment`, or find the one with `key`, or post it."""

    pull: PullRef
    key: str
    body: str
    comment: int = 0


class ShowCard(Variant, frozen=True):
    """Bring our check run at a head up to date."""

    card: Card


class RunBackend(Variant, frozen=True):
    """Have a backend change a tree at `head` with `onto` applied; the whole diff comes back.

    `run` and `attempt` say on whose account that goes, `resume` which session of the backend's own
    goes on.
    """

    backend: str  # a name of the configuration, or "fixers"
    fallback: bool
    head: Sha
    task: Task
    run: RunId
    attempt: int
    onto: str = ""
    resume: str = ""
    announce: tuple[str, ...] = ()  # lines for the log


class Consult(Variant, frozen=True):
    """Ask several backends the same at once; none of them changes anything that is kept."""

    backends: tuple[str, ...]
    head: Sha
    question: Question
    within_s: float
    run: RunId
    attempt: int
    onto: str = ""


class Verify(Variant, frozen=True):
    """Have the gatekeeper run the commands over a fresh tree at `head` with the diff applied.

    `trusted` says that only people who may write to the repository wrote what is at `head`.
    """

    run: str
    pull: PullRef
    head: Sha
    diff: str
    commands: tuple[Command, ...]
    trusted: bool = False


class BuildCommit(Variant, frozen=True):
    """Make the commit, without pushing. Same input, same commit: `at` is author and commit date."""

    pull: PullRef
    parent: Sha
    diff: str
    message: str
    at: datetime


class BuildRevert(Variant, frozen=True):
    """Make a commit on `parent` that holds what `like` held, without pushing."""

    pull: PullRef
    parent: Sha
    like: Sha
    message: str
    at: datetime


class SaveRun(Variant, frozen=True):
    """Store the run as it is now."""

    run: Run


class Push(Variant, frozen=True):
    """Move the branch from `lease` to `commit`, and only from there."""

    pull: PullRef
    branch: str
    commit: Sha
    lease: Sha


class Rerun(Variant, frozen=True):
    """Run the failed jobs of these checks again; `key` is the count that this re-run makes."""

    pull: PullRef
    head: Sha
    checks: tuple[Check, ...]
    key: str


class RetireMarkers(Variant, frozen=True):
    """Take our attempt markers out of the count: the pull request is green or was reset."""

    pull: PullRef


class Remember(Variant, frozen=True):
    """Store which failures turned out to be flaky and which were real."""

    pull: PullRef
    observations: tuple[Observation, ...]


class EndPass(Variant, frozen=True):
    """Store the run and let go of it; look again after `wake_after_s` when that is set."""

    run: Run
    wake_after_s: float | None = None


Effect = (
    ReadFacts
    | ReadFailures
    | Comment
    | ShowCard
    | RunBackend
    | Consult
    | Verify
    | BuildCommit
    | BuildRevert
    | SaveRun
    | Push
    | Rerun
    | RetireMarkers
    | Remember
    | EndPass
)


class FactsRead(Variant, frozen=True):
    """The facts of the pull request; its `pull` is None when it is gone."""

    facts: RepairFacts


class FailuresRead(Variant, frozen=True):
    """The failing checks with their signals, worst first, and what the base branch says to run.

    `repository_config` is its `.github/regreen.toml`; `manifests` are the project's own files by
    path (those that exist of pyproject.toml, package.json, go.mod, Cargo.toml, autocoder.yaml).
    """

    steps: tuple[FailingStep, ...]
    repository_config: str = ""
    manifests: tuple[tuple[str, str], ...] = ()


class Commented(Variant, frozen=True):
    """Our comment stands."""

    comment: int


class BackendEnded(Variant, frozen=True):
    """A backend's answer, and the diff that was found in the tree, whatever it says.

    `at` is the time.
    """

    answer: Answer
    diff: str
    at: datetime


class Opinion(Value, frozen=True):
    """What one backend said to a question."""

    backend: str
    answer: Answer


class Consulted(Variant, frozen=True):
    """What every backend said that was asked, in the order in which they were named."""

    opinions: tuple[Opinion, ...]
    at: datetime


class Verified(Variant, frozen=True):
    """The gatekeeper's verdict."""

    verification: Verification
    at: datetime


class CommitBuilt(Variant, frozen=True):
    """The commit exists in our mirror."""

    commit: Sha


class Pushed(Variant, frozen=True):
    """The branch is at our commit."""

    at: datetime


class HeadMoved(Variant, frozen=True):
    """The branch is elsewhere or gone: nothing was pushed."""

    reason: str


class Refused(Variant, frozen=True):
    """GitHub or git refused for good; a person must act."""

    reason: str


class Superseded(Variant, frozen=True):
    """The generation of this pass is stale: its work must not go out."""

    reason: str


class Done(Variant, frozen=True):
    """Done, nothing to tell."""


Outcome = (
    FactsRead
    | FailuresRead
    | Commented
    | BackendEnded
    | Consulted
    | Verified
    | CommitBuilt
    | Pushed
    | HeadMoved
    | Refused
    | Superseded
    | Done
)
