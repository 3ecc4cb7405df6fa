"""Row 47: another bot undoes what we push, or answers every comment of ours, all day.

Controls: our own comments, pushes and check runs are known as ours; bots are not heard (row 10); a
pull request gets so many attempts a day and no more. Off (no such limit), it goes on all day.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handlers
from bot.config.schema import BackendName, RetryPolicy
from bot.domain import effects
from bot.domain.decisions import Settle
from bot.domain.effects import Effect, Outcome
from bot.domain.events import CommandGiven, Unused
from bot.domain.facts import EventFacts
from bot.domain.runs import Run, RunState, Wish
from bot.domain.values import CheckState, FailureType, RunId, Sha
from handlers import payloads
from tests.support.stories import NOON, PULL, World, a_check, a_comment, a_policy, a_pull, a_step

DAY = timedelta(days=1)
LIMIT = RetryPolicy().daily_attempts
THEM = 4711  # the other bot's numeric id


@dataclass
class Day(World):
    """A world with a clock and a memory: every commit is another one, every attempt is known."""

    runs: dict[RunId, Run] = field(default_factory=dict)
    shas: Iterator[int] = field(default_factory=count)

    def answer(self, effect: Effect) -> Outcome:
        if isinstance(effect, effects.ReadFacts):
            self.recent = sum(at >= self.now - DAY for at in self.begun())
        if isinstance(effect, effects.BuildCommit | effects.BuildRevert):
            return effects.CommitBuilt(self.sha())
        outcome = super().answer(effect)
        if self.newest is not None:
            self.runs[self.newest.id] = self.newest
        return outcome

    def sha(self) -> Sha:
        return Sha(f"{next(self.shas):040x}")

    def begun(self) -> list[datetime]:
        """Return when each attempt on the pull request began, over all its runs."""
        return sorted(one.started_at for run in self.runs.values() for one in run.attempts)

    def look(self, wish: Wish = Wish.LOOK, by: str = "") -> None:
        """Play a pass, and show at GitHub what it pushed."""
        before = len(self.made(effects.Push))
        self.play(wish, by=by)
        if len(self.made(effects.Push)) > before:
            self.show(self.run.head, red=True)
            self.checks = (a_check(state=CheckState.PENDING),)

    def show(self, head: Sha, *, red: bool) -> None:
        self.pull = a_pull(head=head)
        self.checks = (a_check(state=CheckState.FAILED if red else CheckState.PASSED),)

    def push_of_theirs(self) -> None:
        self.generation += 1
        self.show(self.sha(), red=True)

    @property
    def ours(self) -> bool:
        """Whether the head is a push of ours."""
        assert self.pull is not None
        return self.newest is not None and self.pull.head == self.newest.intent


def most_within_a_day(begun: Sequence[datetime]) -> int:
    return max((sum(at <= one < at + DAY for one in begun) for at in begun), default=0)


def play_two_days(day: Day, greens: Sequence[bool], every_s: float) -> None:
    """Have the other bot undo each push of ours; CI may be green before it does."""
    green = iter(greens)
    while day.now < NOON + 2 * DAY:
        day.look()
        if day.ours:
            if next(green, False):
                assert day.pull is not None
                day.show(day.pull.head, red=False)
                day.look()
                assert day.state() is RunState.GREEN
            day.push_of_theirs()
        day.later(every_s)


@settings(max_examples=10)
@given(
    greens=st.lists(st.booleans(), max_size=30),
    verdicts=st.lists(st.booleans(), max_size=30),
    every_s=st.sampled_from([600.0, 1800.0]),
    fallback=st.booleans(),
)
def test_a_bot_that_undoes_each_push_gets_no_more_attempts_than_a_day_has(
    greens, verdicts, every_s, fallback
):
    chain = (BackendName("backend_for_failed_pr", "model-2"),) if fallback else ()
    day = Day(policy=a_policy(fallback=chain), verdicts=list(verdicts))
    play_two_days(day, greens, every_s)
    assert most_within_a_day(day.begun()) <= LIMIT
    assert len(day.made(effects.Push)) <= 2 * LIMIT
    assert len(day.comments) <= 3 * LIMIT, "a comment for each attempt, and a few notices"


def test_it_is_the_day_s_limit_that_ends_it_and_the_next_push_of_another_day_is_looked_at():
    day = Day()
    play_two_days(day, [True, False] * 20, 600.0)
    assert len(day.begun()) == LIMIT
    assert day.state() is RunState.BLOCKED
    assert day.run.reason.startswith("12 attempts were made on this pull request within a day")
    day.push_of_theirs()
    day.look()
    assert len(day.begun()) == LIMIT + 1


def test_without_the_day_s_limit_it_would_go_on():
    day = Day(policy=a_policy(retry=RetryPolicy(daily_attempts=1_000)))
    play_two_days(day, [True, False] * 20, 3600.0)
    assert most_within_a_day(day.begun()) > LIMIT


def test_a_bot_that_pushes_whenever_we_are_stuck_gets_one_notice():
    day = Day(policy=a_policy(retry=RetryPolicy(daily_attempts=0)))
    for _ in range(50):
        day.look()
        assert day.state() in {RunState.BLOCKED, RunState.SUPERSEDED}
        day.push_of_theirs()
        day.later(600)
    assert day.begun() == []
    assert len(day.comments) == 1


def test_a_bot_that_pushes_whenever_we_run_jobs_again_gets_one_notice():
    day = Day(steps=(a_step(FailureType.INFRA),))
    for _ in range(50):
        day.look()
        day.push_of_theirs()
        day.look()
        day.later(600)
    assert len(day.made(effects.Rerun)) <= 50
    assert len(day.comments) == 1


# --- a bot that talks ---------------------------------------------------------------------------


def comment_of_theirs(body: str, kind: str) -> bytes:
    them = {"login": "helper[bot]" if kind == "Bot" else "helper", "id": THEM, "type": kind}
    payload = {
        "action": "created",
        "issue": {"number": PULL.number, "pull_request": {}},
        "comment": {"id": 99, "body": body, "user": them},
        "repository": {"id": 1, "full_name": PULL.repo},
        "sender": them,
    }
    return json.dumps(payload).encode()


def answer_of_theirs(day: Day, body: str, *, kind: str, bots: frozenset[int]) -> bool:
    """Have the other bot write a comment, and do what it brings about; say whether it did."""
    event = payloads.parse("issue_comment", comment_of_theirs(body, kind), app_id=1, bots=bots)
    if isinstance(event, Unused):
        return False
    assert isinstance(event, CommandGiven)
    comment = a_comment(event.comment, body)
    facts = EventFacts(day.now, day.pull, day.newest, "write", comment)
    verdict = handlers.decide(event, facts).verdict
    assert isinstance(verdict, Settle)
    assert verdict.again
    day.look(Wish.FIX, by=verdict.by)
    return True


def play_a_day_of_talk(day: Day, body: str, *, kind: str, bots: frozenset[int]) -> int:
    """Have the other bot answer each new comment of ours; return how often it was obeyed."""
    obeyed = answered = 0
    while day.now < NOON + DAY:
        day.look()
        for _ in range(20):  # it answers at once, and our answer to that, and so on
            if answered >= len(day.comments):
                break
            answered += 1
            obeyed += answer_of_theirs(day, body, kind=kind, bots=bots)
        if day.ours:
            day.push_of_theirs()
        day.later(600)
    return obeyed


@pytest.mark.parametrize("body", ["/regreen fix", "Thanks! What next?", "> /regreen fix\n\ndone"])
def test_what_a_bot_says_is_not_heard(body):
    day = Day()
    assert play_a_day_of_talk(day, body, kind="Bot", bots=frozenset()) == 0
    assert len(day.begun()) == LIMIT


@pytest.mark.parametrize(
    ("kind", "bots"),
    [("Bot", frozenset({THEM})), ("User", frozenset[int]())],
    ids=["allow-listed", "with a person's account"],
)
@pytest.mark.parametrize("verdicts", [[], [False] * 500], ids=["pushed", "rejected"])
def test_a_bot_that_may_give_commands_gets_no_more_attempts_than_a_day_has(kind, bots, verdicts):
    day = Day(verdicts=list(verdicts))
    obeyed = play_a_day_of_talk(day, "/regreen fix", kind=kind, bots=bots)
    assert 0 < obeyed <= 2 * LIMIT
    assert most_within_a_day(day.begun()) <= LIMIT
    assert len(day.comments) <= 2 * LIMIT
