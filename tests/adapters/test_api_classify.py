"""`POST /api/meta/v3/classify-failure`: the shapes of its answers and of its refusals."""

import asyncio
import json
from datetime import UTC, datetime

import httpx
import pytest
from starlette.applications import Starlette

from bot.domain.values import Secret
from bot.web.api import classify

TOKEN = "t" * 20
AT = datetime(2026, 1, 2, tzinfo=UTC)
LOG = "FAILED tests/test_a.py::test_b - assert 3 == 4\n"


class Stopped:
    """A clock that stands still."""

    def now(self) -> datetime:
        return AT


@pytest.fixture
def ask():
    app = Starlette(routes=list(classify.routes(Secret(TOKEN), Stopped())))

    async def post(content, headers):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://regreen") as client:
            return await client.post(classify.PATH, content=content, headers=headers)

    def ask(body, token=TOKEN):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(post(content, headers))

    return ask


def test_the_answer_has_the_shape_that_callers_know(ask):
    asked = {"step_name": "tests", "logs": LOG, "artifacts": {}, "previous_signals": []}
    told = ask(asked).json()["failure_signal"]
    assert set(told) == {
        "type",
        "source",
        "message",
        "evidence",
        "severity",
        "can_retry",
        "requires_replan",
        "created_at",
        "metadata",
    }
    assert (told["type"], told["source"], told["severity"]) == ("test_assert", "tests", "high")
    assert told["created_at"] == AT.isoformat()
    assert told["evidence"][0] == {"line": 1, "text": LOG.strip()}


def test_logs_may_be_several_and_earlier_signals_count(ask):
    assert ask({"logs": ["quiet", LOG]}).json()["failure_signal"]["type"] == "test_assert"
    earlier = [{"type": "unknown"}]
    told = ask({"logs": "quiet", "previous_signals": earlier}).json()["failure_signal"]
    assert told["type"] == "unknown"
    assert told["requires_replan"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"logs": 3}',
        b'{"logs": "x", "previous_signals": [{"type": "nonsense"}]}',
        b'{"logs": "x", "previous_signals": [{"type": []}]}',
        b'{"logs": "x", "previous_signals": 7}',
        b'{"logs": "\xff"}',
        b'{"logs": "x", "artifacts": ' + b"[" * 100_000,
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(ask, body):
    refused = ask(body)
    assert refused.status_code == 400
    assert len(refused.json()["error"]) > 20


def test_without_the_token_nothing_is_told(ask):
    assert ask({"logs": LOG}, token="").status_code == 401
    assert ask({"logs": LOG}, token="wrong").status_code == 401
    assert classify.routes(None, Stopped()) == ()


def test_a_caller_that_goes_away_is_no_trouble():
    app = Starlette(routes=list(classify.routes(Secret(TOKEN), Stopped())))
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": classify.PATH,
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode())],
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400


def test_a_body_that_is_too_large_is_refused(ask):
    assert ask(b" " * (classify.MAX_BODY + 1)).status_code == 413
