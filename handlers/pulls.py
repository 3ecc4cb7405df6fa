"""A pull request was opened, closed, reopened or got a new head."""

from typing import assert_never

from bot.domain.decisions import Decision, Ignore, Settle, Supersede, Verdict
from bot.domain.events import Change, PullChanged
from bot.domain.facts import EventFacts, Need
from bot.domain.values import Pull

NEEDS = frozenset({Need.PULL, Need.RUN})


def decide(event: PullChanged, facts: EventFacts) -> Decision:
    """Supersede work that has become stale; order is not kept, so the facts decide."""
    pull = facts.pull
    if event.change is Change.CLOSED:
        return Decision(_closed(event, pull))
    if pull is None or not pull.open:
        return Decision(Ignore("the pull request is closed"))
    match event.change:
        case Change.PUSHED:
            return Decision(_pushed(pull, facts))
        case Change.REOPENED:
            return Decision(Settle(pull.ref, "the pull request was reopened"))
        case Change.OPENED:
            return Decision(Ignore("its checks will tell"))
        case _:
            assert_never(event.change)


def _closed(event: PullChanged, pull: Pull | None) -> Verdict:
    if pull is not None and pull.open:
        return Ignore("it was reopened since")
    head = event.head if pull is None else pull.head
    return Supersede(event.pull, head, "the pull request was closed", settle=False)


def _pushed(pull: Pull, facts: EventFacts) -> Verdict:
    run = facts.run
    if run is not None and run.intent == pull.head:
        return Ignore("this push is our own")
    return Supersede(pull.ref, pull.head, "the pull request has a new head", settle=True)
