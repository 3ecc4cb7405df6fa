"""What a backend said. One place names every way a call can end (`DESIGN.md`, Routing)."""

from enum import StrEnum

from bot.domain.values import Usage, Value


class Ending(StrEnum):
    """How a backend's call ended."""

    EDITED = "edited"
    NO_CHANGE = "no_change"
    RATE_LIMITED = "rate_limited"
    USAGE_LIMIT = "usage_limit"
    BUDGET = "budget"  # a cap of our own: no other backend changes it
    AUTH = "auth"
    UNAVAILABLE = "unavailable"
    NETWORK = "network"
    TIMEOUT = "timeout"
    CONTEXT_EXCEEDED = "context_exceeded"
    REFUSED = "refused"
    TOOL_FAILED = "tool_failed"
    NOT_FOUND = "not_found"
    KILLED = "killed"
    INVALID = "invalid"
    DISK_FULL = "disk_full"


class DrainMode(StrEnum):
    """In what way a backend was called (seed 2)."""

    NORMAL = "normal"
    CONTINUATION = "continuation"  # where an earlier call of its own ended, in the same session
    SAME_AGENT_RETRY = "same_agent_retry"  # the same again, after a limit that may have passed
    FORMAT_RETRY = "format_retry"  # what it said was of no use, so it was asked once more


class Answer(Value, frozen=True):
    """The end of one backend call; `text` is its own account, `detail` ours for people.

    `session` is what a later call hands back to go on where this one ended, "" where none can.
    `retry_after_s` is the wait that an API asked for; with `BUDGET`, the time until that budget
    begins anew (the day's, at midnight UTC), None where it never does by itself. `mode` tells how
    the call was made that ended so.
    """

    ending: Ending
    text: str = ""
    detail: str = ""
    usage: Usage = Usage()
    retry_after_s: float | None = None
    session: str = ""
    mode: DrainMode = DrainMode.NORMAL
