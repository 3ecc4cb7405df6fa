"""What is true now, fetched when a handler or a run asks for it."""

from datetime import datetime
from enum import StrEnum

from bot.domain.runs import Run
from bot.domain.values import Check, Comment, Pull, Value


class Need(StrEnum):
    """What a handler may ask for before it decides."""

    PULL = "pull"  # the pull request as it is now (found by its head where GitHub named none)
    RUN = "run"  # our newest run of it
    PERMISSION = "permission"  # what the person who asks may do, from the API
    COMMENT = "comment"  # the comment that carried a command, as it reads now


class EventFacts(Value, frozen=True):
    """The facts for one event; what was not asked for or does not exist is None or empty.

    `permission` is GitHub's word: admin, write, read or none.
    """

    now: datetime
    pull: Pull | None = None
    run: Run | None = None
    permission: str = "none"
    comment: Comment | None = None


class RepairFacts(Value, frozen=True):
    """What one pass of a run sees of the pull request.

    `comments` are those that may count attempts, over all pages, oldest first, cut short. `recent`
    is how many attempts were begun on it within the last 24 hours, whatever their runs.
    """

    now: datetime
    pull: Pull | None
    checks: tuple[Check, ...] = ()
    comments: tuple[Comment, ...] = ()
    recent: int = 0
