"""`/api/meta/v3/runs/{run_id}/…`: the shapes that callers know, from a run in a real store."""

from datetime import timedelta

import pytest

from bot.domain.errors import TryLater
from bot.domain.events import RetryAsked
from bot.domain.runs import (
    Attempt,
    Choice,
    Gate,
    GateState,
    Judged,
    Plan,
    PlanDelta,
    Result,
    RunState,
    Strategy,
)
from bot.domain.values import FailureType, RunId
from bot.runtime.inbox import Inbox
from bot.store.database import connect
from bot.store.deliveries import SqlDeliveries
from bot.store.migrate import migrate
from bot.store.runs import SqlRuns
from bot.web.api import runs as runs_api
from handlers import payloads
from tests.support.api import AT, TOKEN, Api, Stopped
from tests.support.pulls import HEAD, REF, a_run

RUN = "/api/meta/v3/runs/r1"
KEY = "ghp_" + "a" * 36  # what a token looks like
LATER = AT + timedelta(minutes=5)

RETRIED = Choice(
    number=1,
    at=AT,
    head=HEAD,
    strategy=Strategy.RETRY,
    reason="transient: the network",
    judged=(Judged("test", FailureType.TRANSIENT, 0.9, "connection reset", "f" * 16),),
    result=Result.RETRIED,
    backoff_s=2.5,
)
PATCHED = Choice(
    number=2,
    at=AT + timedelta(minutes=1),
    head=HEAD,
    strategy=Strategy.PATCH,
    reason="lint: the code can be mended",
    judged=(
        Judged("lint", FailureType.LINT, 0.97, "unused import", "e" * 16),
        Judged("types", FailureType.TYPECHECK, 0.8, "no attribute", "d" * 16),
    ),
    attempt=1,
)
ASKED = Choice(
    number=3,
    at=AT + timedelta(minutes=2),
    head=HEAD,
    strategy=Strategy.ESCALATE,
    reason=f"the change holds {KEY}",
    judged=(Judged("audit", FailureType.SECURITY, 0.9, "CVE", ""),),
    result=Result.ESCALATED,
)
ATTEMPT = Attempt(
    number=1,
    trigger="pr-7-aaaaaaaaaaaa",
    head=HEAD,
    started_at=AT + timedelta(minutes=1),
    failing=("lint", "types"),
    result=Result.PATCH_APPLIED,
    ended_at=LATER,
)
GATE = Gate(
    id="r1-1",
    types=("security",),
    head=HEAD,
    reason=f"the change holds {KEY}",
    diff="diff --git a/a.py b/a.py\n",
    asked_at=AT + timedelta(minutes=3),
    remind_at=AT + timedelta(days=1),
    expires_at=AT + timedelta(days=7),
    asked_by="ada",
)
PLANS = (
    Plan("r1.plan1", AT, ("mend lint",)),
    Plan("r1.plan2", LATER, ("mend types",), f"First {KEY} .", ("planner",)),
)
DELTA = PlanDelta(
    "r1.delta1", "r1.plan1", "r1.plan2", ("mend types",), ("mend lint",), "many_types", LATER
)
FULL = a_run(
    state=RunState.WAITING_PERSON,
    attempts=(ATTEMPT,),
    choices=(RETRIED, PATCHED, ASKED),
    plans=PLANS,
    deltas=(DELTA,),
    gates=(GATE,),
)


@pytest.fixture
def database(tmp_path):
    database = connect("", tmp_path)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def runs(database):
    runs = SqlRuns(database)
    runs.save(FULL)
    return runs


@pytest.fixture
def api(database, runs):
    return an_api(SqlDeliveries(database), runs.read)


def an_api(deliveries, read):
    return Api(
        deliveries,
        lambda inbox: runs_api.routes(TOKEN, read_run=read, inbox=inbox, clock=Stopped()),
    )


def test_the_history_has_the_shape_that_callers_know(api):
    told = api.get(f"{RUN}/autofix").json()
    assert set(told) == {"run_id", "history", "retry_state"}
    assert told["run_id"] == "r1"
    for row in told["history"]:
        assert set(row) == {
            "id",
            "step_id",
            "step_name",
            "signal_type",
            "strategy",
            "outcome",
            "attempt",
            "backoff",
            "created_at",
            "updated_at",
        }
    shown = [
        (row["step_name"], row["signal_type"], row["strategy"], row["outcome"], row["backoff"])
        for row in told["history"]
    ]
    assert shown == [
        ("test", "transient", "retry", "retried", 2.5),
        ("lint", "lint", "patch", "patch_applied", None),
        ("types", "typecheck", "patch", "patch_applied", None),
        ("audit", "security", "escalate", "escalated", None),
    ]
    assert len({row["id"] for row in told["history"]}) == 4
    assert told["history"][1]["attempt"] == 1
    assert told["history"][1]["updated_at"] == "2026-03-01T12:05:00Z"


def test_the_retry_state_counts_in_all_and_by_check(api):
    state = api.get(f"{RUN}/autofix").json()["retry_state"]
    assert state == {
        "total_attempts": 1,
        "max_total_attempts": 6,
        "per_step_attempts": {"lint": 1, "types": 1},
        "max_per_step_attempts": 3,
        "last_backoff_seconds": 2.5,
    }


def test_a_run_that_did_nothing_yet_has_an_empty_history(api, runs):
    runs.save(a_run(id=RunId("r2")))
    told = api.get("/api/meta/v3/runs/r2/autofix").json()
    assert told["history"] == []
    assert told["retry_state"]["total_attempts"] == 0
    assert told["retry_state"]["last_backoff_seconds"] is None
    assert api.get("/api/meta/v3/runs/r2/escalations").json() == {
        "run_id": "r2",
        "escalations": [],
        "gates": [],
    }


def test_escalations_name_their_gate_and_who_answered(api, runs):
    told = api.get(f"{RUN}/escalations").json()
    [asked] = told["escalations"]
    assert (asked["gate_id"], asked["signal_types"]) == ("r1-1", ["security"])
    [gate] = told["gates"]
    assert gate == {
        "gate_id": "r1-1",
        "gate_types": ["security"],
        "status": "pending",
        "sha": HEAD,
        "reason": "the change holds [redacted]",
        "required_role": "write",
        "requested_by": "ada",
        "created_at": "2026-03-01T12:03:00Z",
        "expires_at": "2026-03-08T12:00:00Z",
        "answered_by": None,
        "answered_at": None,
        "answer_reason": None,
    }
    answered = Gate(
        id=GATE.id,
        types=GATE.types,
        head=HEAD,
        reason="r",
        diff="",
        asked_at=GATE.asked_at,
        remind_at=GATE.remind_at,
        expires_at=GATE.expires_at,
        state=GateState.REJECTED,
        by="grace",
        at=LATER,
        note="not now",
    )
    runs.save(a_run(gates=(answered,)))
    [gate] = api.get(f"{RUN}/escalations").json()["gates"]
    told = (gate["status"], gate["answered_by"], gate["answered_at"], gate["answer_reason"])
    assert told == ("rejected", "grace", "2026-03-01T12:05:00Z", "not now")


def test_plan_deltas_say_what_changed_and_why(api):
    told = api.get(f"{RUN}/plan-deltas").json()
    assert told["plan_deltas"] == [
        {
            "id": "r1.delta1",
            "original_plan_id": "r1.plan1",
            "new_plan_id": "r1.plan2",
            "delta_data": {"added": ["mend types"], "removed": ["mend lint"]},
            "triggered_by": "many_types",
            "created_at": "2026-03-01T12:05:00Z",
        }
    ]
    assert [plan["id"] for plan in told["plans"]] == ["r1.plan1", "r1.plan2"]
    assert (told["plans"][1]["text"], told["plans"][1]["by"]) == ("First [redacted] .", ["planner"])


@pytest.mark.parametrize("what", ["autofix", "escalations", "plan-deltas"])
def test_no_answer_holds_a_secret_or_the_change(api, what):
    told = api.get(f"{RUN}/{what}")
    assert told.status_code == 200
    assert KEY not in told.text
    assert "diff --git" not in told.text


def test_a_retry_is_stored_before_it_is_answered(api):
    accepted = api.post(f"{RUN}/retry", {"requested_by": "grace"})
    assert (accepted.status_code, accepted.json()) == (202, {"run_id": "r1", "status": "accepted"})
    [delivery] = api.stored()
    assert delivery.event == "regreen.retry"
    event = payloads.parse(delivery.event, delivery.body)
    assert event == RetryAsked(pull=REF, run="r1", by="grace")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        {},
        b"{",
        {"requested_by": ""},
        {"requested_by": "renovate[bot]"},
        {"requested_by": 7},
        {"requested_by": "grace", "force": True},
    ],
    ids=str,
)
def test_nobody_retries_without_a_name(api, body):
    refused = api.post(f"{RUN}/retry", body)
    assert refused.status_code == 400
    assert "requested_by" in refused.json()["error"]
    assert api.stored() == []


@pytest.mark.parametrize("state", sorted(RunState))
def test_only_what_could_be_tried_again_is(api, runs, state):
    runs.save(a_run(state=state))
    answered = api.post(f"{RUN}/retry", {"requested_by": "grace"})
    over = state in (RunState.GREEN, RunState.SUPERSEDED, RunState.CLOSED)
    assert answered.status_code == (409 if over else 202)
    assert answered.json().get("state") == (state if over else None)
    assert len(api.stored()) == (not over)


@pytest.mark.parametrize("run", ["r2", "%00", "r1%20", "'"])
def test_an_unknown_run_is_404(api, run):
    path = f"/api/meta/v3/runs/{run}"
    for what in ("autofix", "escalations", "plan-deltas"):
        unknown = api.get(f"{path}/{what}")
        assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
    assert api.post(f"{path}/retry", {"requested_by": "grace"}).status_code == 404
    assert api.stored() == []


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_the_token_nothing_is_told(api, token):
    for run in ("r1", "r2"):
        path = f"/api/meta/v3/runs/{run}"
        for what in ("autofix", "escalations", "plan-deltas"):
            assert api.get(f"{path}/{what}", token=token).status_code == 401
        refused = api.post(f"{path}/retry", {"requested_by": "grace"}, token=token)
        assert refused.status_code == 401
    assert api.stored() == []


def test_without_a_token_of_ours_it_is_not_served(database, runs):
    inbox = Inbox(SqlDeliveries(database))
    assert runs_api.routes(None, read_run=runs.read, inbox=inbox, clock=Stopped()) == ()


def test_a_database_that_is_down_is_503(database):
    def down(_run):
        raise TryLater("the database at db.internal is down", after_s=3)

    answered = an_api(SqlDeliveries(database), down).get(f"{RUN}/autofix")
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "3")
    assert "db.internal" not in answered.text
