"""The gate: who may answer, for which commit, when it reminds and when it ends."""

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import ApprovalPolicy
from bot.domain.runs import Gate, GateState, Run
from bot.domain.values import Sha
from bot.repair.approvals import ended, means, next_look_s, opened, refusal, reminded
from tests.support.pulls import NOW, OTHER, a_run

HEAD = Sha("abc123def4567890abc123def4567890abc123de")
POLICY = ApprovalPolicy()
DAY = timedelta(days=1)


def a_held_run(policy: ApprovalPolicy = POLICY, asked_by: str = "mona") -> Run:
    run = a_run(head=HEAD, asked_by=asked_by)
    return opened(run, policy, types=("security",), diff="a diff", reason="it waits", at=NOW)


def a_gate(**changes) -> Gate:
    gate = a_held_run().gate
    assert gate is not None
    return msgspec.structs.replace(gate, **changes)


def answered(gate=None, **changes) -> str:
    word = {"by": "hubot", "permission": "write", "head": HEAD, "now": NOW, "approved": True}
    return refusal(gate or a_gate(), **{**word, **changes})


def test_a_gate_holds_the_whole_change_and_is_bound_to_the_head():
    gate = a_gate()
    assert gate == Gate(
        id="r1-1",
        types=("security",),
        head=HEAD,
        reason="it waits",
        diff="a diff",
        asked_at=NOW,
        remind_at=NOW + DAY,
        expires_at=NOW + 7 * DAY,
        role="write",
        asked_by="mona",
    )


def test_each_gate_of_a_run_has_its_own_id():
    run = ended(a_held_run(), GateState.VOID, NOW)
    again = opened(run, POLICY, types=("policy",), diff="b", reason="it waits", at=NOW)
    assert [gate.id for gate in again.gates] == ["r1-1", "r1-2"]
    assert again.gate is again.gates[1]


# --- who may answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("approved", [True, False])
@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        ("write", "none", False),
        ("write", "", False),
        ("write", "read", False),
        ("write", "triage", False),
        ("write", "write", True),
        ("write", "maintain", True),
        ("write", "admin", True),
        ("admin", "write", False),
        ("admin", "maintain", False),
        ("admin", "admin", True),
        ("no such role", "maintain", False),
        ("no such role", "admin", True),
    ],
)
def test_an_answer_takes_the_role(role, permission, allowed, approved):
    why = answered(a_gate(role=role), permission=permission, approved=approved)
    assert why == ("" if allowed else f"this takes {role} permission")


@pytest.mark.parametrize("by", ["mona", "Mona", "MONA"])
def test_who_asked_may_not_approve_but_may_reject(by):
    assert "another person must" in answered(by=by, permission="admin")
    assert answered(by=by, approved=False) == ""


@pytest.mark.parametrize("approved", [True, False])
def test_an_expired_gate_takes_no_answer(approved):
    last = NOW + 7 * DAY
    assert answered(now=last - timedelta(seconds=1), approved=approved) == ""
    why = answered(now=last, approved=approved)
    assert why == "the question was open until 2026-03-08 12:00 UTC"


def test_nobody_asked_so_anybody_with_the_role_may_approve():
    assert answered(a_gate(asked_by=""), by="mona") == ""


@pytest.mark.parametrize("head", [OTHER, None])
def test_a_moved_head_takes_no_approval_but_may_be_rejected(head):
    assert "the head has moved since" in answered(head=head)
    assert answered(head=head, approved=False) == ""


@pytest.mark.parametrize(
    ("named", "counts"),
    [
        ("", True),
        (HEAD, True),
        (HEAD[:7], True),
        (HEAD[:12].upper(), True),
        (HEAD[:6], False),
        ("a", False),
        (HEAD[1:], False),
        (HEAD + "0", False),
        (OTHER, False),
        ("please", False),
        ("approved!", False),
    ],
)
def test_a_named_commit_must_be_the_one_that_the_change_goes_onto(named, counts):
    assert means(named, HEAD) is counts
    why = answered(named=named)
    assert why == ("" if counts else f"the change waits on {HEAD[:10]}, not on {named[:40]}")
    assert answered(named=named, approved=False) == ""


@given(named=st.text(max_size=50))
def test_nothing_but_a_beginning_of_the_commit_names_it(named):
    assert means(named, HEAD) is (not named or (len(named) >= 7 and HEAD.startswith(named.lower())))


# --- its ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in GateState if state is not GateState.PENDING])
def test_an_ended_gate_drops_the_change_and_keeps_who_said_what(state):
    run = ended(a_held_run(), state, NOW + DAY, by="hubot", note="fine")
    (gate,) = run.gates
    assert run.gate is None
    assert (gate.state, gate.by, gate.note, gate.at) == (state, "hubot", "fine", NOW + DAY)
    assert gate.diff == ""


def test_an_end_is_final():
    run = ended(a_held_run(), GateState.REJECTED, NOW, by="hubot")
    assert ended(run, GateState.APPROVED, NOW + DAY, by="mona") == run
    assert reminded(run) == run


def test_a_run_without_a_gate_stays_as_it_is():
    assert ended(a_run(), GateState.VOID, NOW) == reminded(a_run()) == a_run()


# --- when to look again -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "reminders", "seconds"),
    [
        pytest.param(timedelta(0), 0, 86_400, id="until the reminder"),
        pytest.param(timedelta(hours=23), 0, 3_600, id="still until the reminder"),
        pytest.param(DAY, 1, 6 * 86_400, id="until it expires"),
        pytest.param(2 * DAY, 0, 1, id="the reminder is late"),
        pytest.param(8 * DAY, 1, 1, id="it has expired"),
    ],
)
def test_the_next_look(after, reminders, seconds):
    assert next_look_s(a_gate(reminders=reminders), NOW + after) == seconds


def test_a_gate_that_expires_before_it_would_remind_is_looked_at_in_time():
    gate = a_held_run(ApprovalPolicy(remind_s=1000, expire_s=60)).gate
    assert gate is not None
    assert next_look_s(gate, NOW) == 60


@given(
    remind=st.floats(0, 1e6),
    expire=st.floats(1, 1e6),
    waits=st.lists(st.floats(0, 1e5), max_size=20),
)
def test_whoever_looks_when_told_comes_to_the_end_in_a_few_looks(remind, expire, waits):
    run, now, looks = a_held_run(ApprovalPolicy(remind_s=remind, expire_s=expire)), NOW, [NOW]
    for wait in [*waits, 0.0, 0.0, 0.0, 0.0]:
        gate = run.gate
        assert gate is not None
        if now >= gate.expires_at:
            break
        if not gate.reminders and now >= gate.remind_at:
            run = reminded(run)
            continue
        now += timedelta(seconds=next_look_s(gate, now) + wait)
        looks.append(now)
    assert now >= looks[0] + timedelta(seconds=expire)
    assert all(earlier < later for earlier, later in pairwise(looks))
    assert len(looks) <= 3
