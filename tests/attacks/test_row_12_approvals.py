"""Row 12: an approval that is stale, or given by who asked.

Control: `approvals.refusal` binds it to the gate's commit, to its time, to a role, and to somebody
else than who asked; a push voids the gate. Off (none of these is so), the change goes out.
"""

from datetime import timedelta

import pytest

from bot.domain import effects
from bot.domain.runs import GateState, Wish
from bot.domain.values import FailureType
from bot.repair import approvals
from tests.support.stories import HEAD, NOON, OTHER, World, a_check, a_pull, a_step


def held(by: str = "") -> World:
    audit = a_step(FailureType.SECURITY, "audit")
    world = World(steps=(audit,), checks=(a_check("audit"),))
    world.play(Wish.FIX if by else Wish.LOOK, by=by)
    return world


def refused(world: World, **changes) -> str:
    gate = world.run.gate
    assert gate is not None
    given = {"by": "grace", "permission": "write", "head": HEAD, "now": NOON, "approved": True}
    return approvals.refusal(gate, **{**given, **changes})


WRONG = {
    "another head": {"head": OTHER},
    "no head": {"head": None},
    "another commit named": {"named": "d" * 40},
    "too short a name": {"named": "aaa"},
    "too late": {"now": NOON + timedelta(days=60)},
    "no role": {"permission": "read"},
    "triage": {"permission": "triage"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_wrong_approval_is_refused(changes):
    assert refused(held(), **changes)


@pytest.mark.parametrize("by", ["ada", "ADA"])
def test_who_asked_does_not_approve(by):
    assert "another person" in refused(held(by="ada"), by=by)


def test_a_right_one_counts():
    assert refused(held(by="ada")) == ""


def test_a_push_after_the_approval_voids_it():
    """The word was given for one commit; the pass that carries it finds another."""
    world = held()
    world.pull = a_pull(head=OTHER)
    world.play(Wish.APPROVE, by="grace", asked_at=HEAD)
    assert world.made(effects.Push) == []
    assert world.run.gates[-1].state is GateState.VOID


def test_without_the_push_it_goes_out():
    world = held()
    world.play(Wish.APPROVE, by="grace")
    (push,) = world.made(effects.Push)
    assert push.lease == HEAD
