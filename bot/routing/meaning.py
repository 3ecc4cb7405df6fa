"""What the end of a call means: again, the next lane, or stop; and what it costs.

One row per ending. The words and numbers are Ralph Workflow's (seed 2): what passes by itself is
tried again on the same lane after a moment, what does not is left at once, and what the environment
did uses up no attempt. Rests double from their first length to their longest, unless the provider
said how long.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from bot.domain.answers import Ending
from bot.domain.health import RestKind
from bot.domain.values import Value, Variant

SHORT_S = 10.0  # a Retry-After up to this is waited for on the same lane; a longer one is a rest


class Then(StrEnum):
    """What follows the end of a call."""

    GO_ON = "go_on"  # there is a change to look at
    SAME = "same"  # the same lane again, after a moment
    NEXT = "next"  # the next lane, at once
    STOP = "stop"  # no lane can do better


class Fault(StrEnum):
    """Whose fault an ending is; only the lane's own counts against its health."""

    NONE = "none"
    LANE = "lane"
    TASK = "task"  # another task may go well
    HERE = "here"  # this machine: no lane had a chance


class Meaning(Value, frozen=True):
    """One row: `after_ms` is the wait before the same lane again, `rest` the pause that it starts.

    `counts` tells whether an attempt that ended so is one of those allowed. `person` is what
    somebody has to do, empty when nobody has to.
    """

    then: Then
    fault: Fault
    counts: bool
    after_ms: int = 0
    rest: RestKind | None = None
    person: str = ""


def _same(after_ms: int, rest: RestKind, *, counts: bool) -> Meaning:
    return Meaning(Then.SAME, Fault.LANE, counts, after_ms=after_ms, rest=rest)


def _next(rest: RestKind, *, counts: bool, person: str = "") -> Meaning:
    return Meaning(Then.NEXT, Fault.LANE, counts, rest=rest, person=person)


MEANINGS: Mapping[Ending, Meaning] = {
    Ending.EDITED: Meaning(Then.GO_ON, Fault.NONE, counts=True),
    Ending.NO_CHANGE: Meaning(Then.NEXT, Fault.TASK, counts=True),
    Ending.REFUSED: Meaning(Then.NEXT, Fault.TASK, counts=True),
    Ending.CONTEXT_EXCEEDED: Meaning(Then.NEXT, Fault.TASK, counts=True),
    Ending.RATE_LIMITED: _next(RestKind.BROKEN, counts=False),
    Ending.USAGE_LIMIT: _next(RestKind.CREDITS, counts=False),
    Ending.AUTH: _next(RestKind.BROKEN, counts=False, person="its key is refused: give it another"),
    Ending.NOT_FOUND: _next(
        RestKind.BROKEN,
        counts=False,
        person="its program or model does not exist: install it, or name another",
    ),
    Ending.KILLED: _next(RestKind.BROKEN, counts=True),
    Ending.TOOL_FAILED: _next(RestKind.BROKEN, counts=True),
    Ending.UNAVAILABLE: _same(3_000, RestKind.BROKEN, counts=False),
    Ending.NETWORK: _same(2_000, RestKind.BROKEN, counts=False),
    Ending.TIMEOUT: _same(1_000, RestKind.SILENT, counts=True),
    Ending.INVALID: _same(500, RestKind.BROKEN, counts=True),
    Ending.BUDGET: Meaning(
        Then.STOP, Fault.HERE, counts=False, person="a budget is used up: raise it, or wait"
    ),
    Ending.DISK_FULL: Meaning(
        Then.STOP, Fault.HERE, counts=False, person="the disk of this machine is full"
    ),
}

# First and longest rest in seconds.
RESTS: Mapping[RestKind, tuple[float, float]] = {
    RestKind.CREDITS: (60.0, 1_800.0),
    RestKind.BROKEN: (5.0, 60.0),
    RestKind.SILENT: (5.0, 30.0),
}


class Again(Variant, frozen=True):
    """Give the same lane the same task again after `after_s`."""

    after_s: float


class Onward(Variant, frozen=True):
    """Choose another lane."""

    why: str


class Halt(Variant, frozen=True):
    """No lane can help; `person` is what somebody has to do."""

    person: str


class Through(Variant, frozen=True):
    """The call brought something to look at."""


After = Again | Onward | Halt | Through


def after(
    ending: Ending,
    *,
    failures: int,
    fit: bool,
    max_retries: int = 3,
    retry_after_s: float | None = None,
) -> After:
    """Say what follows a call, its lane's *failures* with this task so far included.

    A lane that is not *fit* any more, by this call or another task's, is not asked again: it rests,
    or does poorly while another lane is ready.
    """
    meaning = MEANINGS[ending]
    match meaning.then:
        case Then.GO_ON:
            return Through()
        case Then.STOP:
            return Halt(meaning.person)
        case Then.NEXT:
            return Onward(_words(ending))
        case Then.SAME:
            if not fit:
                return Onward(f"{_words(ending)}, and not for the first time")
            if failures > max_retries:
                return Onward(f"{_words(ending)} after {max_retries} retries")
            return Again(max(meaning.after_ms / 1_000, retry_after_s or 0.0))


def rest_for(kind: RestKind, nth: int) -> timedelta:
    """Return how long the *nth* rest in a row lasts, counted from 0."""
    first_s, longest_s = RESTS[kind]
    doublings = min(nth, 16)  # far beyond every longest rest
    return timedelta(seconds=min(first_s * 2.0**doublings, longest_s))


def told(ending: Ending) -> str:
    """Return an ending in words, with what a person has to do about it, if anything."""
    person = MEANINGS[ending].person
    return f"{_words(ending)} ({person})" if person else _words(ending)


def _words(ending: Ending) -> str:
    return ending.value.replace("_", " ")
