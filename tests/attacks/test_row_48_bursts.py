"""Row 48: a flood of events has the App write in bursts, for which GitHub bans it.

Control: one lane of writes for each installation, with `write_pause_s` (a second) between two of
them; whoever hands work in waits. So there are never more than 60 a minute, of 80 that GitHub
bears. Off (no pause), they come at once.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise

from bot.config.schema import Policy
from bot.github.connect import SECONDS_BETWEEN_WRITES
from bot.github.transport import Transport
from bot.runtime.clock import SystemClock
from tests.support.scripted_github import Answer, ScriptedGitHub

PATH = "/repos/o/r/issues/5/comments"
WRITES = 3


def arrivals(pause_s: float) -> Sequence[datetime]:
    """Have several threads write at one time; return when GitHub got what they wrote."""
    clock, seen = SystemClock(), list[datetime]()
    github = ScriptedGitHub()
    github.on("POST", PATH, Answer(201, {}, then=lambda _: seen.append(clock.now())))
    transport = Transport(github.url, clock, pause_s)
    try:
        with ThreadPoolExecutor(WRITES) as pool:
            for number in range(WRITES):
                body = {"body": str(number)}
                pool.submit(transport.send, "POST", PATH, authorization="x", lane=7, body=body)
    finally:
        transport.close()
        github.close()
    assert len(seen) == WRITES
    return seen


def gaps(seen: Sequence[datetime]) -> list[float]:
    return [(later - earlier).total_seconds() for earlier, later in pairwise(seen)]


def test_a_second_lies_between_two_writes():
    assert SECONDS_BETWEEN_WRITES == Policy().write_pause_s == 1.0
    assert min(gaps(arrivals(SECONDS_BETWEEN_WRITES))) >= 0.99  # as the other end sees it


def test_without_the_pause_they_come_at_once():
    assert min(gaps(arrivals(0))) < 1.0
