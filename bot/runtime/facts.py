"""Fetch the facts that a handler or a run asks for: a webhook is only a hint."""

import msgspec

from bot.domain.errors import Gone
from bot.domain.events import (
    ButtonPressed,
    ChecksChanged,
    CommandGiven,
    Event,
    PullChanged,
    Swept,
)
from bot.domain.facts import EventFacts, Need, RepairFacts
from bot.domain.ports import Ports, Pulls
from bot.domain.values import Comment, Pull, PullRef

COMMENT_CHARACTERS = 2_000  # markers stand at the top
COUNTING_WORDS = ("regreen", "Auto-Coder Attempt")


def about(event: Event, pulls: Pulls) -> tuple[Event, ...]:
    """Return the event once for each pull request that it is about.

    GitHub names none for forks, and several may share a head: those are found by it.
    """
    if not isinstance(event, ChecksChanged) or event.pull is not None:
        return (event,)
    try:
        refs = [pull.ref for pull in pulls.open(event.repo) if pull.head == event.head]
    except Gone:
        refs = []
    return tuple(msgspec.structs.replace(event, pull=ref) for ref in refs) or (event,)


def gather(event: Event, needs: frozenset[Need], ports: Ports) -> EventFacts:
    """Return what *needs* names for the pull request of *event*."""
    pull = _pull(event, ports) if Need.PULL in needs else None
    ref = pull.ref if pull is not None else _named(event)
    run = ports.runs.newest(ref) if Need.RUN in needs and ref is not None else None
    return EventFacts(
        now=ports.clock.now(),
        pull=pull,
        run=run,
        permission=_permission(event, ports) if Need.PERMISSION in needs else "none",
        comment=_comment(event, ports) if Need.COMMENT in needs else None,
    )


def observe(pull: PullRef, ports: Ports) -> RepairFacts:
    """Return what one pass of a run sees of the pull request."""
    now = ports.clock.now()
    try:
        found = ports.pulls.read(pull)
    except Gone:
        return RepairFacts(now=now, pull=None)
    if not found.open:
        return RepairFacts(now=now, pull=found)
    checks = tuple(ports.checks.at(pull.repo, found.head))
    return RepairFacts(now=now, pull=found, checks=checks, comments=_counting(pull, ports))


def _counting(pull: PullRef, ports: Ports) -> tuple[Comment, ...]:
    """Return the comments that may count attempts, cut short: their markers stand at the top."""
    return tuple(
        msgspec.structs.replace(one, body=one.body[:COMMENT_CHARACTERS])
        for one in ports.comments.all(pull)
        if any(word in one.body for word in COUNTING_WORDS)
    )


def _named(event: Event) -> PullRef | None:
    match event:
        case ChecksChanged() | PullChanged() | CommandGiven() | ButtonPressed() | Swept():
            return event.pull
        case _:
            return None


def _pull(event: Event, ports: Ports) -> Pull | None:
    """Return the pull request that the event names."""
    named = _named(event)
    try:
        return None if named is None else ports.pulls.read(named)
    except Gone:
        return None


def _permission(event: Event, ports: Ports) -> str:
    if not isinstance(event, CommandGiven | ButtonPressed):
        return "none"
    return ports.repos.permission(event.pull.repo, event.author)


def _comment(event: Event, ports: Ports) -> Comment | None:
    if not isinstance(event, CommandGiven):
        return None
    try:
        return ports.comments.read(event.pull, event.comment)
    except Gone:
        return None
