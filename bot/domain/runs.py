"""Runs and attempts as they are stored. What people must be able to count lives in the comments."""

from datetime import datetime
from enum import StrEnum

from bot.domain.values import FailureType, PullRef, RunId, Sha, Usage, Value, Verification


class RunState(StrEnum):
    """Where a run stands between passes. The second half are endings."""

    WORKING = "working"
    WAITING_CI = "waiting_ci"
    WAITING_DELAY = "waiting_delay"
    WAITING_PERSON = "waiting_person"
    WAITING_BASE = "waiting_base"  # the base branch fails in the same way
    WAITING_PROOF = "waiting_proof"  # the repository's checks judge the change on a scratch branch
    GREEN = "green"
    GAVE_UP = "gave_up"
    BLOCKED = "blocked"  # going on makes no sense: the same again and again
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    STOPPED = "stopped"


FINAL = frozenset(
    {
        RunState.GREEN,
        RunState.GAVE_UP,
        RunState.BLOCKED,
        RunState.SUPERSEDED,
        RunState.CLOSED,
        RunState.STOPPED,
    }
)


class Wish(StrEnum):
    """What a pass is for. All but `look` are a person's, and every one takes its turn."""

    LOOK = "look"  # see what is true now and do what the policy says
    FIX = "fix"  # try even where the policy alone would not
    STOP = "stop"  # end the run, and start none for this head
    RESET = "reset"  # begin to count attempts anew
    APPROVE = "approve"  # let what waits at the gate go out
    REJECT = "reject"  # throw it away


class Request(Value, frozen=True):
    """What a pass is asked for, by whom and why; `head` is what a person saw who asked.

    `gate` is the one at which an answer was given.
    """

    wish: Wish = Wish.LOOK
    why: str = ""
    head: Sha | None = None
    by: str = ""
    gate: str = ""

    @property
    def asked(self) -> bool:
        """Whether a person asked for a try."""
        return self.wish is Wish.FIX


class Strategy(StrEnum):
    """What is done about the failures of a head (`DESIGN.md`, Words)."""

    RETRY = "retry"
    PATCH = "patch"
    REPLAN = "replan"
    ESCALATE = "escalate"
    ROLLBACK = "rollback"
    GIVE_UP = "give_up"


class Result(StrEnum):
    """How a choice or its attempt ended (the seeds' outcomes), or that it has not yet."""

    WORKING = "working"
    RETRIED = "retried"
    PATCH_APPLIED = "patch_applied"
    PATCH_POSTED = "patch_posted"  # a fork: the verified patch stands in the comment
    REPLANNED = "replanned"
    REJECTED = "rejected"
    ESCALATED = "escalated"
    ROLLED_BACK = "rolled_back"
    GAVE_UP = "gave_up"
    BLOCKED = "blocked"
    SUPERSEDED = "superseded"


class Judged(Value, frozen=True):
    """A failing check as a choice saw it; `fingerprint` is equal for the same failure.

    `upstream` says that the base branch failed in the same way.
    """

    check: str
    type: FailureType
    confidence: float
    message: str
    fingerprint: str = ""
    upstream: bool = False


class Choice(Value, frozen=True):
    """One decision of a run with everything that it went by.

    `inputs` are names and values for people; `attempt` is the number of the attempt that it led
    to, 0 without one; `backoff_s` how long it had the run wait.
    """

    number: int
    at: datetime
    head: Sha
    strategy: Strategy
    reason: str
    judged: tuple[Judged, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    attempt: int = 0
    result: Result = Result.WORKING
    backoff_s: float | None = None


class Plan(Value, frozen=True):
    """What an attempt sets out to do; `text` is a model's own plan, `by` who wrote it."""

    id: str
    at: datetime
    goals: tuple[str, ...]
    text: str = ""
    by: tuple[str, ...] = ()


class PlanDelta(Value, frozen=True):
    """How a plan differs from the one before it, and what made it change (seed 4)."""

    id: str
    original: str
    new: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    triggered_by: str
    at: datetime


class GateState(StrEnum):
    """Where an approval stands. All but the first are endings."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"  # a push, a green CI or a stop came first


class Gate(Value, frozen=True):
    """A proved change that waits for a person's yes; bound to `head`, the commit it goes onto.

    `role` is the permission that an answer takes, `asked_by` the login that asked for the try and
    so may not approve it. `diff` is the whole change, dropped once the gate is answered.
    """

    id: str
    types: tuple[str, ...]  # security, policy, or rules of the guard
    head: Sha
    reason: str
    diff: str
    asked_at: datetime
    remind_at: datetime
    expires_at: datetime
    role: str = "write"
    asked_by: str = ""
    state: GateState = GateState.PENDING
    by: str = ""
    at: datetime | None = None
    note: str = ""
    reminders: int = 0


class Scratch(Value, frozen=True):
    """A change that the repository's own checks judge on a branch of ours, before its own moves.

    `commit` holds the change on top of the run's head; `diff` and `gates` are what goes on when it
    passes. `pushed_at` is None until the branch is there; `cancelled_at` is when a check there was
    first seen cancelled, which is no verdict.
    """

    branch: str
    diff: str
    gates: tuple[str, ...] = ()
    commit: Sha | None = None
    pushed_at: datetime | None = None
    cancelled_at: datetime | None = None


class Attempt(Value, frozen=True):
    """One trip through the pipeline; `tried` lists each backend and why it did not do.

    `error_key` is equal for equal failures; `summary` is the backend's own account. `plan` is the
    id of the plan it followed, `qa` how often it was sent back with what the gatekeeper found.
    `passed` are the checks that were green on its head, `worse` those that it turned red. `session`
    is the backend's own, which goes on when its change is sent back. `ci` is what the repository's
    own checks said of the change on a scratch branch. `unpaid` says that a budget of ours, or a
    full disk, ended it: it goes on when a person says so or the day's budget begins anew, for which
    it has waited `capped` times, and is not counted until then. `chosen`
    says who was chosen and why, the newest last; `side` is the strategy that it took part with,
    where two are compared. `calls` counts the calls of backends, `outages` how often the attempt
    ended a pass to wait for one, since `waiting_since`.
    """

    number: int
    trigger: str
    head: Sha
    started_at: datetime
    fallback: bool = False
    backend: str = ""
    model: str = ""
    result: Result = Result.WORKING
    reason: str = ""
    failing: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    error_key: str = ""
    diff_fingerprint: str = ""
    tried: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    evidence: tuple[tuple[str, str], ...] = ()  # failing check, what its log says
    diff: str = ""
    notices: tuple[str, ...] = ()
    commit: Sha | None = None
    comment: int = 0
    verification: Verification | None = None
    ci: Verification | None = None
    usage: Usage = Usage()
    ended_at: datetime | None = None
    outages: int = 0
    green: bool = False
    plan: str = ""
    qa: int = 0
    session: str = ""
    unpaid: bool = False
    capped: int = 0
    passed: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    side: str = ""
    calls: int = 0
    waiting_since: datetime | None = None


class Run(Value, frozen=True):
    """One repair of one pull request.

    `head` is the commit the run last looked at; `intent` the commit it is about to push or has
    pushed, recorded before the push so that the webhook it causes is known as ours.
    `reruns` counts re-runs per failing check. `asked` is the head that a person asked to mend,
    `asked_by` that person. `pushed_at` is when we last moved the branch. `notice` is the comment
    that tells of re-runs and of waiting, 0 when there is none. `since` is the attempt from which
    the limits count: a reset forgives those before it. `upstream` are the checks that failed in
    the same way on the base branch. `scratch` is the change that waits for the repository's checks.
    """

    id: RunId
    pull: PullRef
    state: RunState
    head: Sha
    generation: int
    started_at: datetime
    updated_at: datetime
    attempts: tuple[Attempt, ...] = ()
    reruns: tuple[tuple[str, int], ...] = ()
    intent: Sha | None = None
    asked: Sha | None = None
    asked_by: str = ""
    pushed_at: datetime | None = None
    notice: int = 0
    since: int = 0
    reason: str = ""
    wake_at: datetime | None = None
    upstream: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    plans: tuple[Plan, ...] = ()
    deltas: tuple[PlanDelta, ...] = ()
    gates: tuple[Gate, ...] = ()
    scratch: Scratch | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will move this run any more."""
        return self.state in FINAL

    @property
    def gate(self) -> Gate | None:
        """The gate at which a change waits."""
        return next((gate for gate in self.gates if gate.state is GateState.PENDING), None)


class Fence(Value, frozen=True):
    """What a pull request's generation is, and why the last one became stale.

    `stopped` is the generation that a person's stop began, 0 when nobody ever said stop.
    """

    generation: int
    head: Sha
    reason: str = ""
    stopped: int = 0
