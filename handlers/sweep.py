"""Our own periodic look: it finds what webhooks missed."""

from bot.domain.decisions import Decision, Ignore, Settle, Supersede
from bot.domain.events import Swept
from bot.domain.facts import EventFacts, Need

NEEDS = frozenset({Need.PULL, Need.RUN})


def decide(event: Swept, facts: EventFacts) -> Decision:
    """Bring our view of a pull request up to date with what is true."""
    pull, run = facts.pull, facts.run
    working = run is not None and not run.ended
    if pull is None or not pull.open:
        if run is None or not working:
            return Decision(Ignore("the pull request is closed"))
        head = run.head if pull is None else pull.head
        return Decision(Supersede(event.pull, head, "the pull request was closed", settle=False))
    if run is not None and working and pull.head not in {run.head, run.intent}:
        reason = "the pull request has a new head"
        return Decision(Supersede(event.pull, pull.head, reason, settle=True))
    return Decision(Settle(event.pull, "the sweep found it"))
