"""A check, a suite, a workflow run or a status has completed."""

from bot.domain.decisions import Decision, Ignore, Settle
from bot.domain.events import ChecksChanged
from bot.domain.facts import EventFacts, Need
from bot.domain.runs import RunState

NEEDS = frozenset({Need.PULL, Need.RUN})


def decide(event: ChecksChanged, facts: EventFacts) -> Decision:
    """Look at the pull request once its checks have settled, unless this is no news to it.

    A success counts too when a run is there: it may be what the run waits for.
    """
    pull, run = facts.pull, facts.run
    if pull is None:
        return Decision(Ignore("no pull request has this head"))
    if not pull.open:
        return Decision(Ignore("the pull request is closed"))
    scratch = run.scratch if run is not None else None
    if scratch is not None and scratch.commit == event.head:
        return Decision(Settle(pull.ref, f"{event.name} completed on {scratch.branch}"))
    if pull.head != event.head:
        return Decision(Ignore("the head has moved since"))
    if not event.red and run is None:
        return Decision(Ignore(f"{event.name} is not red, and nothing is at work"))
    if not event.red and run is not None and run.state is RunState.GREEN and run.head == pull.head:
        return Decision(Ignore("this head is known to be green"))
    verdict = "failed" if event.red else "completed"
    return Decision(Settle(pull.ref, f"{event.name} {verdict}"))
