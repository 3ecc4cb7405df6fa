"""Fetch the facts that a handler or a run asks for: a webhook is only a hint."""

from datetime import timedelta

import msgspec

from bot.domain.errors import Gone
from bot.domain.events import (
    ButtonPressed,
    ChecksChanged,
    CommandGiven,
    Event,
    GateAnswered,
    PullChanged,
    RetryAsked,
    Swept,
)
from bot.domain.facts import EventFacts, Need, RepairFacts
from bot.domain.ports import Ports, Pulls, Runs
from bot.domain.values import Comment, Pull, PullRef

COMMENT_CHARACTERS = 2_000  # markers stand at the top
DAY = timedelta(days=1)
REMEMBERED = timedelta(days=90)  # how long it counts what became of a failure
COUNTING_WORDS = ("regreen", "Auto-Coder Attempt")


def about(event: Event, pulls: Pulls, runs: Runs) -> tuple[Event, ...]:
    """Return the event once for each pull request that it is about.

    GitHub names none for forks, and several may share a head: those are found by it. A success that
    is no pull request's own may be what others wait for: their base branch is green again.
    """
    if not isinstance(event, ChecksChanged) or event.pull is not None:
        return (event,)
    try:
        refs = [pull.ref for pull in pulls.open(event.repo) if pull.head == event.head]
    except Gone:
        refs = []
    found: list[Event] = [msgspec.structs.replace(event, pull=ref) for ref in refs]
    if not found and not event.red:
        found = [Swept(pull) for pull in runs.waiting_for_base(event.repo)]
    return tuple(found) or (event,)


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
    recent = ports.runs.attempts_since(pull, now - DAY)
    return RepairFacts(
        now=now, pull=found, checks=checks, comments=_counting(pull, ports), recent=recent
    )


def _counting(pull: PullRef, ports: Ports) -> tuple[Comment, ...]:
    """Return the comments that may count attempts, cut short: their markers stand at the top."""
    return tuple(
        msgspec.structs.replace(one, body=one.body[:COMMENT_CHARACTERS])
        for one in ports.comments.all(pull)
        if any(word in one.body for word in COUNTING_WORDS)
    )


def _named(event: Event) -> PullRef | None:
    match event:
        case ChecksChanged() | PullChanged() | CommandGiven() | ButtonPressed():
            return event.pull
        case GateAnswered() | RetryAsked() | Swept():
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
    match event:
        case CommandGiven() | ButtonPressed():
            return ports.repos.permission(event.pull.repo, event.author)
        case GateAnswered() | RetryAsked():
            return ports.repos.permission(event.pull.repo, event.by)
        case _:
            return "none"


def _comment(event: Event, ports: Ports) -> Comment | None:
    if not isinstance(event, CommandGiven):
        return None
    try:
        return ports.comments.read(event.pull, event.comment)
    except Gone:
        return None
