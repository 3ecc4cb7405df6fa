"""Runs and attempts as they are stored. What people must be able to count lives in the comments."""

from datetime import datetime
from enum import StrEnum

from bot.domain.values import PullRef, RunId, Sha, Usage, Value, Verification


class RunState(StrEnum):
    """Where a run stands between passes. The second half are endings."""

    WORKING = "working"
    WAITING_CI = "waiting_ci"
    WAITING_DELAY = "waiting_delay"
    WAITING_PERSON = "waiting_person"
    GREEN = "green"
    GAVE_UP = "gave_up"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    STOPPED = "stopped"


FINAL = frozenset(
    {RunState.GREEN, RunState.GAVE_UP, RunState.SUPERSEDED, RunState.CLOSED, RunState.STOPPED}
)


class Wish(StrEnum):
    """What a pass is for. All but `look` are a person's, and every one takes its turn."""

    LOOK = "look"  # see what is true now and do what the policy says
    FIX = "fix"  # try even where the policy alone would not
    STOP = "stop"  # end the run, and start none for this head
    RESET = "reset"  # begin to count attempts anew


class Result(StrEnum):
    """How an attempt ended (the seeds' outcomes), or that it has not yet."""

    WORKING = "working"
    PATCH_APPLIED = "patch_applied"
    PATCH_POSTED = "patch_posted"  # a fork: the verified patch stands in the comment
    REJECTED = "rejected"
    ESCALATED = "escalated"
    GAVE_UP = "gave_up"
    SUPERSEDED = "superseded"


class Attempt(Value, frozen=True):
    """One trip through the pipeline; `tried` lists each backend and why it did not do.

    `error_key` is equal for equal failures; `summary` is the backend's own account.
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
    usage: Usage = Usage()
    ended_at: datetime | None = None
    outages: int = 0
    green: bool = False


class Run(Value, frozen=True):
    """One repair of one pull request.

    `head` is the commit the run last looked at; `intent` the commit it is about to push or has
    pushed, recorded before the push so that the webhook it causes is known as ours.
    `reruns` counts re-runs per failing check. `asked` is the head that a person asked to mend.
    `notice` is the comment that tells of re-runs and of waiting, 0 when there is none. `since` is
    the attempt from which the limits count: a reset forgives those before it.
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
    notice: int = 0
    since: int = 0
    reason: str = ""
    wake_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will move this run any more."""
        return self.state in FINAL


class Fence(Value, frozen=True):
    """What a pull request's generation is, and why the last one became stale.

    `stopped` is the generation that a person's stop began, 0 when nobody ever said stop.
    """

    generation: int
    head: Sha
    reason: str = ""
    stopped: int = 0
