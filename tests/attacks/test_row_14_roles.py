"""Row 14: whoever asked for a try, or let a change out, loses the role before the push.

Control: `held.words` names those people in the push, and the interpreter reads their roles again
right before it, or before the patch of a fork is posted. Off (a push that
stands on nobody's word), the change goes out.
"""

from dataclasses import fields
from typing import Any

import pytest

from bot.config.schema import Policy
from bot.domain import effects
from bot.domain.ports import Ports
from bot.domain.runs import Result, Wish
from bot.domain.values import FailureType
from bot.runtime.clock import SystemClock
from bot.runtime.interpreter import Interpreter
from bot.simulator.model import Reply
from bot.store.memory import MemoryRuns
from bot.telemetry.metrics import PrometheusTelemetry
from tests.support.scenes import BROKEN, MENDED, REPO, edit
from tests.support.stories import HEAD, World, a_check, a_pull, a_step

TO_A_PERSON = edit("    return side + side", f'    key = "AKIA{"Q3EGRVXNKWYZ4T7P"}"')


@pytest.fixture
def demoted(github):
    """Take a person's role away for the rest of a story."""
    yield lambda login: github.sim.set_permission(REPO, login, "read")
    github.sim.set_permission(REPO, "writer", "write")


def test_who_is_demoted_while_the_work_is_done_pushes_nothing(bot, github, model, demoted):
    model.answers(TO_A_PERSON, Reply(MENDED, delay_s=1.0))
    pull = github.open_pull(BROKEN)
    head = pull.head
    bot.settle()
    pull.says("/regreen fix", by="writer")
    bot.wait_for(lambda: len(model.calls) == 2, "the model to be asked again")
    demoted("writer")
    bot.settle()

    assert pull.head == head
    assert "writer, on whose word this change goes out, has no write permission" in pull.said()
    assert pull.conclusion() == "action_required"


def test_who_is_demoted_meanwhile_has_no_patch_posted_for_a_fork(bot, github, model, demoted):
    model.answers(Reply(MENDED, delay_s=1.0))
    pull = github.open_pull(BROKEN, fork=True)
    bot.settle()
    pull.says("/regreen fix", by="writer")
    bot.wait_for(lambda: model.calls, "the model to be asked")
    demoted("writer")
    bot.settle()

    assert "writer, on whose word this change goes out, has no write permission" in pull.said()
    assert "side * side" not in pull.said()
    assert pull.attempts()[-1].endswith("a person is needed for `test`")


class Github:
    """What the push asks of GitHub and git; `pushed` counts what went out."""

    def __init__(self, **roles: str) -> None:
        self.roles = roles
        self.pushed = 0

    def permission(self, repo: str, login: str) -> str:
        return self.roles.get(login, "none")

    def remote(self, repo: str, *, write: bool) -> None:
        return None

    def push(self, *_: object) -> str:
        self.pushed += 1
        return "pushed"


def performed(push: effects.Push | effects.CheckWords, github: Github) -> Any:
    named = {field.name: github for field in fields(Ports)}
    parts: dict[str, Any] = {
        **named,
        "runs": MemoryRuns(),
        "clock": SystemClock(),
        "telemetry": PrometheusTelemetry(),
    }
    return Interpreter(Ports(**parts), "none").perform(push, 0, Policy())


def asked_for() -> Any:
    world = World()
    world.play(Wish.FIX, by="writer")
    return world.made(effects.Push)[0]


def approved() -> Any:
    audit = a_step(FailureType.SECURITY, "audit")
    world = World(steps=(audit,), checks=(a_check("audit"),))
    world.play()
    world.play(Wish.APPROVE, by="grace")
    return world.made(effects.Push)[0]


def for_a_fork() -> Any:
    world = World(pull=a_pull(head_repo="other/repo"))
    world.play(Wish.FIX, by="writer")
    assert world.made(effects.Push) == []
    assert world.run.attempts[0].result is Result.PATCH_POSTED
    return world.made(effects.CheckWords)[0]


def test_a_push_names_on_whose_word_it_stands():
    alone = World()
    alone.play()
    assert alone.made(effects.Push)[0].words == ()
    assert asked_for().words == (("writer", "write"),)
    assert approved().words == (("grace", "write"),)
    assert for_a_fork().words == (("writer", "write"),)


@pytest.mark.parametrize(
    "push", [asked_for(), approved(), for_a_fork()], ids=["asked", "approved", "fork"]
)
@pytest.mark.parametrize("role", ["none", "read", "triage"])
def test_a_role_that_is_gone_stops_the_push(push, role):
    github = Github(**dict.fromkeys(("writer", "grace"), role))
    assert isinstance(performed(push, github), effects.Refused)
    assert github.pushed == 0


@pytest.mark.parametrize("push", [asked_for(), approved()], ids=["asked", "approved"])
def test_it_goes_out_with_the_role_or_without_the_control(push):
    held = Github(writer="write", grace="admin")
    assert isinstance(performed(push, held), effects.Pushed)
    off = Github()
    blind = effects.Push(push.pull, push.branch, push.commit, push.lease)
    assert isinstance(performed(blind, off), effects.Pushed)
    assert isinstance(performed(for_a_fork(), held), effects.Done)
    assert (held.pushed, off.pushed) == (1, 1)
    assert push.lease == HEAD
