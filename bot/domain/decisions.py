"""A handler's answer to an event; each carries its reason."""

from bot.domain.values import PullRef, Sha, Variant


class Ignore(Variant, frozen=True):
    """Do nothing."""

    reason: str


class Settle(Variant, frozen=True):
    """Look at the pull request once its checks have settled; at once when a person asked.

    `again` lifts a stop, a block or a wait of the newest run: `by` asked for another try.
    `head` is what the person who asked saw; on a fork the word counts for that alone.
    """

    pull: PullRef
    reason: str
    now: bool = False
    again: bool = False
    head: Sha | None = None
    by: str = ""


class Judge(Variant, frozen=True):
    """`by` said yes or no to the change that waits at this gate of the pull request."""

    pull: PullRef
    approved: bool
    reason: str
    head: Sha
    by: str
    gate: str


class Supersede(Variant, frozen=True):
    """Whatever is at work on this pull request has become stale; `head` is the head it has now.

    `settle` says whether to look again afterwards.
    """

    pull: PullRef
    head: Sha
    reason: str
    settle: bool


class Stop(Variant, frozen=True):
    """A person stopped the run."""

    pull: PullRef
    reason: str


class Reset(Variant, frozen=True):
    """A person set the attempt count back to zero."""

    pull: PullRef
    reason: str


class Tell(Variant, frozen=True):
    """Only answer: the acknowledgement below says all."""

    reason: str


Verdict = Ignore | Settle | Judge | Supersede | Stop | Reset | Tell


class Acknowledge(Variant, frozen=True):
    """How a command is answered: a reaction on its comment, and a reply when there is one."""

    pull: PullRef
    comment: int
    reaction: str
    reply: str = ""


class Decision(Variant, frozen=True):
    """What to do about an event, and what to say to who asked."""

    verdict: Verdict
    acknowledge: Acknowledge | None = None
