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


class ChooseBackend(Variant, frozen=True):
    """Choose the lane that works next, by what is known of all of them, and keep its standing.

    `count` is how many attempts were made before this one. `tried` are the lanes that failed with
    this task already, `left` the one that it leaves now by that lane's fault, `kinds` what kinds of
    task this is, the closest first.
    """

    pull: PullRef
    count: int
    kinds: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    left: str = ""


class Pause(Variant, frozen=True):
    """Wait for a moment, holding no worker."""

    pull: PullRef
    seconds: float


class RunBackend(Variant, frozen=True):
    """Have a backend change a tree at `head` with `onto` applied; the whole diff comes back.

    `run` and `attempt` say on whose account that goes, `resume` which session of the backend's own
    goes on. The commands `preflight` are run in its own tree when it has changed something. `lane`
    is whose health hears of the end, "" for one without health; `call` numbers the calls of the
    attempt, so that each is heard of once.
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
    preflight: tuple[Command, ...] = ()
    lane: str = ""
    provider: str = ""
    call: int = 0


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

    `trusted` says that only people who may write to the repository wrote what is at `head`. `lane`
    made the diff and `key` names the call; the lane's health hears of the verdict once.
    """

    run: str
    pull: PullRef
    head: Sha
    diff: str
    commands: tuple[Command, ...]
    trusted: bool = False
    lane: str = ""
    key: str = ""


class Record(Variant, frozen=True):
    """Write the artifact of a verification, again when it was written at its time before."""

    pull: PullRef
    run: str
    verification: Verification


class OfferScratch(Variant, frozen=True):
    """Push a commit to a scratch branch, whatever that held; no other branch of ours moves."""

    pull: PullRef
    branch: str
    commit: Sha


class DropScratch(Variant, frozen=True):
    """Delete a scratch branch, if it is there."""

    pull: PullRef
    branch: str


class ReadProof(Variant, frozen=True):
    """Read the checks of a commit on a scratch branch, and which of them fail on the base too."""

    pull: PullRef
    commit: Sha
    base_branch: str


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
    """Move the branch from `lease` to `commit`, and only from there.

    `words` are the people on whose word it stands, with the role that each still must have then.
    """

    pull: PullRef
    branch: str
    commit: Sha
    lease: Sha
    words: tuple[tuple[str, str], ...] = ()


class CheckWords(Variant, frozen=True):
    """See that the people on whose word a patch is posted still have the role; as for a push."""

    pull: PullRef
    words: tuple[tuple[str, str], ...]


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
    | ChooseBackend
    | Pause
    | RunBackend
    | Consult
    | Verify
    | Record
    | OfferScratch
    | DropScratch
    | ReadProof
    | BuildCommit
    | BuildRevert
    | SaveRun
    | Push
    | CheckWords
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


class BackendChosen(Variant, frozen=True):
    """Who works next and why, and why not the others; the lane is "" where none can be used now.

    Then `wait_until` is when there may be news of one; None where all were tried and could go on.
    `side` is the strategy that this pull request gets where two are compared.
    """

    at: datetime
    lane: str = ""
    backend: str = ""
    provider: str = ""
    side: str = ""
    reasons: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    wait_until: datetime | None = None


class Paused(Variant, frozen=True):
    """The moment is over."""

    at: datetime


class BackendEnded(Variant, frozen=True):
    """A backend's answer, and the diff that was found in the tree, whatever it says.

    `at` is the time, `preflight` what came of the commands that ran in its tree, if any did. A diff
    that adds what looks like a secret is not handed on, for outcomes are stored: `leaks` says where
    it does. `fit` tells whether its lane may be asked again: it does not rest, and no other does
    better; `up` that a probe has just found it there.
    """

    answer: Answer
    diff: str
    at: datetime
    preflight: Verification | None = None
    leaks: tuple[str, ...] = ()
    fit: bool = True
    up: bool = False


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


class Recorded(Variant, frozen=True):
    """The artifact stands."""

    verification: Verification
    at: datetime


class ProofRead(Variant, frozen=True):
    """The checks on a scratch branch: `upstream` fail on the base, `logs` say why others fail."""

    checks: tuple[Check, ...]
    upstream: tuple[str, ...]
    logs: tuple[tuple[str, str], ...]
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
    | BackendChosen
    | Paused
    | BackendEnded
    | Consulted
    | Verified
    | Recorded
    | ProofRead
    | CommitBuilt
    | Pushed
    | HeadMoved
    | Refused
    | Superseded
    | Done
)
