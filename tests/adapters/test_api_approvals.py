"""`POST /api/meta/v3/approvals/{gate_id}/approve|reject`: what counts as an answer, and is kept."""

from datetime import timedelta

import msgspec
import pytest

from bot.domain.errors import TryLater
from bot.domain.events import GateAnswered
from bot.domain.runs import Gate, GateState
from bot.domain.values import Sha
from bot.runtime.inbox import Inbox
from bot.store.database import connect
from bot.store.deliveries import SqlDeliveries
from bot.store.migrate import migrate
from bot.store.runs import SqlRuns
from bot.web.api import approvals
from handlers import payloads
from tests.support.api import AT, TOKEN, Api, Stopped
from tests.support.pulls import HEAD, OTHER, REF, a_run

GATE = Gate(
    id="r1-1",
    types=("security",),
    head=HEAD,
    reason="`audit` is a security finding",
    diff="diff --git a/a.py b/a.py\n",
    asked_at=AT - timedelta(hours=1),
    remind_at=AT + timedelta(days=1),
    expires_at=AT + timedelta(days=7),
    asked_by="Ada",
)
YES = {"approver": "grace", "sha": HEAD}
APPROVE, REJECT = "/api/meta/v3/approvals/r1-1/approve", "/api/meta/v3/approvals/r1-1/reject"


class Full(SqlDeliveries):
    """A store whose disk is full."""

    def accept(self, batch):
        raise TryLater("the disk is full", after_s=7)


@pytest.fixture
def database(tmp_path):
    database = connect("", tmp_path)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def runs(database):
    runs = SqlRuns(database)
    runs.save(a_run(gates=(GATE,)))
    return runs


@pytest.fixture
def api(database, runs):
    return an_api(SqlDeliveries(database), runs)


def an_api(deliveries, runs):
    return Api(
        deliveries,
        lambda inbox: approvals.routes(TOKEN, by_gate=runs.by_gate, inbox=inbox, clock=Stopped()),
    )


@pytest.mark.parametrize("path", [APPROVE, REJECT])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        {},
        [],
        b"null",
        b"true",
        b"{",
        b"\xff",
        b"[" * 60_000,
        {"approved": True},
        {"approved": False},
        {"sha": HEAD},
        {"reason": "fine"},
        {"approver": "", "sha": HEAD},
        {"approver": "  ", "sha": HEAD},
        {"approver": None, "sha": HEAD},
        {"approver": ["grace"], "sha": HEAD},
        {"approver": "renovate[bot]", "sha": HEAD},
        {"approver": "grace/../ada", "sha": HEAD},
        {"approver": "grace\n", "sha": HEAD},
        {"approver": "grace", "sha": HEAD[:12]},
        {"approver": "grace", "sha": HEAD.upper()},
        {"approver": "grace", "sha": ""},
        {"approver": "grace", "sha": HEAD, "approved": True},
        {"approver": "grace", "sha": HEAD, "reason": "x" * 2_001},
    ],
    ids=str,
)
def test_what_is_no_full_answer_neither_approves_nor_rejects(api, path, body):
    refused = api.post(path, body)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/json"
    assert len(refused.json()["error"]) > 20
    assert api.stored() == []


def test_a_refusal_shows_what_an_answer_looks_like(api):
    assert '{"approver": ' in api.post(APPROVE, b"").json()["error"]
    assert "`sha`" in api.post(APPROVE, {"approver": "grace"}).json()["error"]


def test_a_yes_is_stored_before_it_is_answered(api):
    accepted = api.post(APPROVE, {**YES, "reason": "looks right"})
    assert (accepted.status_code, accepted.json()) == (
        202,
        {"gate_id": "r1-1", "status": "accepted"},
    )
    [delivery] = api.stored()
    assert (delivery.event, delivery.received_at) == ("regreen.approval", AT)
    event = payloads.parse(delivery.event, delivery.body)
    assert event == GateAnswered(
        pull=REF, gate="r1-1", approved=True, sha=HEAD, by="grace", reason="looks right"
    )


@pytest.mark.parametrize("sha", [{}, {"sha": HEAD}])
def test_a_no_may_leave_the_commit_out(api, sha):
    assert api.post(REJECT, {"approver": "grace", **sha}).status_code == 202
    [delivery] = api.stored()
    event = payloads.parse(delivery.event, delivery.body)
    assert event == GateAnswered(pull=REF, gate="r1-1", approved=False, sha=HEAD, by="grace")


@pytest.mark.parametrize("path", [APPROVE, REJECT])
def test_another_commit_is_no_answer(api, path):
    refused = api.post(path, {"approver": "grace", "sha": OTHER})
    assert refused.status_code == 409
    assert "commit" in refused.json()["error"]
    assert HEAD not in refused.text  # who answers must have looked, not copied it from here
    assert api.stored() == []


@pytest.mark.parametrize("login", ["Ada", "ada", "ADA"])
def test_who_asked_may_reject_but_not_approve(api, login):
    assert api.post(APPROVE, {"approver": login, "sha": HEAD}).status_code == 403
    assert api.stored() == []
    assert api.post(REJECT, {"approver": login}).status_code == 202


def test_each_answer_has_a_delivery_of_its_own(api):
    assert [api.post(APPROVE, YES).status_code for _ in range(2)] == [202, 202]
    assert len({delivery.guid for delivery in api.stored()}) == 2


@pytest.mark.parametrize("state", sorted(set(GateState) - {GateState.PENDING}))
@pytest.mark.parametrize("path", [APPROVE, REJECT])
def test_a_gate_takes_one_answer(api, runs, path, state):
    gate = msgspec.structs.replace(GATE, state=state, by="lin", diff="")
    runs.save(a_run(gates=(gate,)))
    refused = api.post(path, YES)
    assert (refused.status_code, refused.json()["state"]) == (409, state)
    assert api.stored() == []


@pytest.mark.parametrize(("left_s", "status"), [(1, 202), (0, 409), (-1, 409)])
def test_a_gate_expires_at_its_time_even_before_the_worker_says_so(api, runs, left_s, status):
    late = msgspec.structs.replace(GATE, expires_at=AT + timedelta(seconds=left_s))
    runs.save(a_run(gates=(late,)))
    answered = api.post(APPROVE, YES)
    assert answered.status_code == status
    assert len(api.stored()) == (status == 202)
    assert answered.json().get("state", "expired") == "expired"


def test_the_gate_of_the_address_is_the_one_that_is_answered(api, runs):
    first = msgspec.structs.replace(GATE, state=GateState.VOID, diff="")
    second = msgspec.structs.replace(GATE, id="r1-2", head=Sha(OTHER))
    runs.save(a_run(gates=(first, second)))
    assert api.post(APPROVE, YES).status_code == 409
    path = APPROVE.replace("r1-1", "r1-2")
    assert api.post(path, YES).status_code == 409
    assert api.post(path, {"approver": "grace", "sha": OTHER}).status_code == 202
    [delivery] = api.stored()
    event = payloads.parse(delivery.event, delivery.body)
    assert isinstance(event, GateAnswered)
    assert (event.gate, event.sha) == ("r1-2", OTHER)


@pytest.mark.parametrize("gate", ["r1-2", "r1", "%00", "r1-1%2Fapprove", "'"])
def test_an_unknown_gate_is_404(api, gate):
    assert api.post(f"/api/meta/v3/approvals/{gate}/approve", YES).status_code == 404
    assert api.stored() == []


@pytest.mark.parametrize("token", ["", "wrong", TOKEN.reveal()[:-1], "tötö"])
def test_without_the_token_nothing_is_told(api, token):
    refused = api.post(APPROVE, YES, token=token)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert api.post("/api/meta/v3/approvals/none/approve", YES, token=token).status_code == 401
    assert api.stored() == []


def test_without_a_token_of_ours_it_is_not_served(database, runs):
    inbox = Inbox(SqlDeliveries(database))
    made = approvals.routes(None, by_gate=runs.by_gate, inbox=inbox, clock=Stopped())
    assert made == ()


def test_a_large_body_is_not_read(api):
    assert api.post(APPROVE, b" " * (64 * 1024 + 1)).status_code == 413


def test_what_could_not_be_stored_is_not_accepted(database, runs):
    refused = an_api(Full(database), runs).post(APPROVE, YES)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
    assert "disk" not in refused.text
