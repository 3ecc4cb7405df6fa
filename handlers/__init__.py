"""What we do about each event: `needs` names the facts it wants, `decide` answers.

A handler answers and never acts; each reason to act has its module. A webhook is only a hint: what
is decided stands on the facts, which were fetched after it came.
"""

from typing import assert_never

from bot.domain.decisions import Decision, Ignore
from bot.domain.events import (
    ButtonPressed,
    ChecksChanged,
    CommandGiven,
    Event,
    GateAnswered,
    InstallationChanged,
    Pinged,
    PullChanged,
    RetryAsked,
    Swept,
)
from bot.domain.facts import EventFacts, Need
from handlers import checks, commands, installs, pulls, sweep

__all__ = ["decide", "needs"]


def needs(event: Event) -> frozenset[Need]:
    """Return which facts must be fetched before deciding about an event."""
    match event:
        case ChecksChanged():
            return checks.NEEDS
        case PullChanged():
            return pulls.NEEDS
        case CommandGiven():
            return commands.NEEDS
        case ButtonPressed() | GateAnswered() | RetryAsked():
            return commands.OTHER_NEEDS
        case InstallationChanged() | Pinged():
            return frozenset()
        case Swept():
            return sweep.NEEDS
        case _:
            assert_never(event)


def decide(  # noqa: PLR0911 -- one match over the closed union
    event: Event, facts: EventFacts
) -> Decision:
    """Return what to do about an event."""
    match event:
        case ChecksChanged():
            return checks.decide(event, facts)
        case PullChanged():
            return pulls.decide(event, facts)
        case CommandGiven():
            return commands.decide(event, facts)
        case ButtonPressed():
            return commands.decide_button(event, facts)
        case GateAnswered():
            return commands.decide_answer(event, facts)
        case RetryAsked():
            return commands.decide_retry(event, facts)
        case InstallationChanged():
            return installs.decide(event)
        case Swept():
            return sweep.decide(event, facts)
        case Pinged():
            return Decision(Ignore(f"GitHub says hello: {event.zen}"))
        case _:
            assert_never(event)
