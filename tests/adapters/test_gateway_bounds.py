"""What an agent tries at its socket and does not get: memory, dearer models, more money."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.domain.answers import Ending
from bot.domain.models import Api, Caps, Price, PriceOf, Spend, Tokens, accounts, decisive
from bot.gateway import apis, asked
from bot.gateway.proxy import Limits
from bot.gateway.upstream import proxy_of
from bot.store.database import connect
from bot.store.ledger import SqlLedger
from bot.store.memory import MemoryLedger
from tests.benchmarks import model_server
from tests.support.gateways import PRICE, a_grant, opened
from tests.support.model_api import WAIT_S, event, model_api, piece, reply, says, stream

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 50}
HALF = event({"choices": [{"delta": {"content": "I will start by"}}]})
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
MOST = 16 * 1024 * 1024


def told(door, *parts: bytes) -> bytes:
    """Send bytes to a door as they are, and return what comes back until it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_S)
        connection.connect(str(door.socket))
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


# --- Connections ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"GET /v1/models HTTP/1.1\r\nx: ", b"y" * 65_536, id="header"),
        pytest.param(b"GET /", b"y" * 65_536, id="path"),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ",
            b"y" * 65_536,
            id="trailer",
        ),
        pytest.param(b"GET /v1/models HTTP/1.1\r\n", b"x: y\r\n" * 10_000, id="headers"),
    ],
)
def test_a_head_without_end_is_not_kept(begin, more):
    with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
        with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe, as it happens
            told(gate.door, begin, *[more] * (MOST // len(more)))
        assert gate.client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="tls"),
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n", id="connect"),
        pytest.param(
            POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="both"
        ),
        pytest.param(POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ", id="two lengths"),
        pytest.param(POST + b"content-length: -2\r\n\r\n{}", id="negative"),
        pytest.param(POST + b"content-length: 0x2\r\n\r\n{}", id="hexadecimal"),
        pytest.param(POST + b"transfer-encoding: x\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="unknown"),
        pytest.param(POST + b"a b: c\r\ncontent-length: 2\r\n\r\n{}", id="a name with a space"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http 2"),
    ],
)
def test_what_is_no_proper_request_leads_nowhere(request_):
    second = b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
        answer = told(gate.door, request_ + second)
        assert upstream.seen == []
        assert b" 200 " not in answer
        assert gate.client.get("/v1/models").status_code == 200


def test_two_requests_on_the_wire_at_one_time_end_both():
    def script(_request) -> Iterator[bytes]:
        yield stream()
        while True:
            yield piece(HALF)

    body = json.dumps({**CHAT, "stream": True}).encode()
    first = POST + b"content-length: %d\r\n\r\n" % len(body) + body
    with (
        model_api(script) as upstream,
        opened(a_grant(upstream.url)) as gate,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(WAIT_S)
        connection.connect(str(gate.door.socket))
        connection.sendall(first)
        assert b"200" in connection.recv(65_536)
        connection.sendall(first)
        with suppress(ConnectionResetError):
            while connection.recv(65_536):
                pass
        assert upstream.left.wait(WAIT_S)
        gate.client.get("/nowhere")
    assert gate.call.ending is Ending.KILLED
    assert len(upstream.seen) == 1


def test_a_header_that_is_no_ascii_stays_behind():
    with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
        headers = {b"x-stainless-os": "\xe4".encode("latin-1"), b"x-app": b"cli"}
        answer = gate.client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 200
    assert upstream.seen[0].headers["x-app"] == "cli"
    assert "x-stainless-os" not in upstream.seen[0].headers


def test_a_call_that_waits_for_room_does_not_begin_when_the_door_closes():
    class Slow(MemoryLedger):
        entered, over = threading.Event(), threading.Event()

        def reserve(self, call, accounts):
            self.entered.set()
            self.over.wait(WAIT_S)
            return super().reserve(call, accounts)

    ledger, body = Slow(), json.dumps(CHAT).encode()
    request = POST + b"content-length: %d\r\n\r\n" % len(body) + body
    with (
        model_api(says(reply(200, {}))) as upstream,
        socket.socket(socket.AF_UNIX) as first,
        socket.socket(socket.AF_UNIX) as second,
    ):
        with opened(a_grant(upstream.url), ledger=ledger, limits=Limits(calls=1)) as gate:
            for connection in (first, second):
                connection.connect(str(gate.door.socket))
                connection.sendall(request)
                assert ledger.entered.wait(WAIT_S)
            gate.client.get("/nowhere")  # so that the second has been read
            threading.Timer(0.2, ledger.over.set).start()
        assert [call.ending for call in gate.door.calls()] == [Ending.KILLED]
        assert upstream.seen == []


# --- What is asked for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "path", "given", "sent"),
    [
        pytest.param(
            Api.OPENAI,
            "/v1/responses",
            rb'{"input":[{"type":"additional\u005Ftools","tools":[{"type":"web_search"}]}]}',
            {"input": [{"type": "additional_tools", "tools": []}]},
            id="an escape",
        ),
        pytest.param(
            Api.OPENAI,
            "/v1/responses",
            b'{"tools":[{"type":"web_search","type":"function","name":"f"}]}',
            {"tools": [{"type": "function", "name": "f"}]},
            id="a name twice",
        ),
        pytest.param(
            Api.OPENAI,
            "/v1/responses",
            b'{"service_tier":"priority","model":"m"}',
            {"model": "m"},
            id="priority",
        ),
        pytest.param(
            Api.OPENAI,
            "/v1/responses",
            b'{"service_tier":"flex","model":"m"}',
            {"service_tier": "flex", "model": "m"},
            id="flex",
        ),
        pytest.param(
            Api.ANTHROPIC,
            "/v1/messages",
            b'{"speed":"fast","inference_geo":"us","service_tier":["x"],"max_tokens":5}',
            {"max_tokens": 5},
            id="fast",
        ),
    ],
)
def test_what_hides_or_makes_dearer_is_left_out(api, path, given, sent):
    match = apis.match(api, "POST", path)
    assert match is not None
    body = asked.read(match, given).body
    assert json.loads(body) == sent
    assert body.count(b'"type"') == json.dumps(sent).count('"type"')


def test_of_several_lengths_the_longest_is_held_back():
    match = apis.match(Api.OPENAI, "POST", "/v1/chat/completions")
    assert match is not None
    read = asked.read(match, b'{"max_completion_tokens":1,"max_tokens":9000,"n":2}')
    assert read.estimate.output == 18_000


# --- Prices -------------------------------------------------------------------------------------

LIST = (PriceOf("big*", Price(20.0, 100.0)), PriceOf("big-mini*", Price(0.2, 1.0)))
CAPPED = Caps(per_pull_usd=100.0)


@pytest.mark.parametrize(
    ("own", "asked_for", "price"),
    [
        pytest.param(PRICE, "m", PRICE, id="the configured model"),
        pytest.param(PRICE, "big-1", LIST[0].price, id="a dearer one"),
        pytest.param(PRICE, "big-mini-1", LIST[1].price, id="the longest pattern"),
        pytest.param(PRICE, "m-unlisted", PRICE, id="one that nobody listed"),
        pytest.param(None, "big-1", LIST[0].price, id="no price of its own"),
    ],
)
def test_a_call_costs_what_the_model_costs_that_is_asked_for(own, asked_for, price):
    given: dict[str, Any] = {"price": own, "model": "m", "prices": LIST, "caps": CAPPED}
    with (
        model_api(says(reply(200, {"usage": USAGE}))) as upstream,
        opened(a_grant(upstream.url, **given)) as gate,
    ):
        gate.client.post("/v1/chat/completions", json={**CHAT, "model": asked_for})
    cost = round((1000 * price.input + 50 * price.output) * 1000)
    assert gate.call.cost_nano == cost
    assert gate.spent() == [Spend(spent_nano=cost)] * 5


@pytest.mark.parametrize("caps", [CAPPED, Caps()])
def test_a_model_without_a_price_is_refused_where_a_cap_has_to_hold(caps):
    given: dict[str, Any] = {"price": None, "model": "m", "prices": LIST, "caps": caps}
    with (
        model_api(says(reply(200, {"usage": USAGE}))) as upstream,
        opened(a_grant(upstream.url, **given)) as gate,
    ):
        answer = gate.client.post("/v1/chat/completions", json=CHAT)
    if caps == Caps():
        assert (answer.status_code, gate.call.cost_nano) == (200, None)
        return
    assert (answer.status_code, upstream.seen) == (404, [])
    assert gate.call.ending is Ending.NOT_FOUND
    assert "no price is known for the model 'm'" in gate.call.detail


# --- Budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", Caps.__struct_fields__)
def test_a_budget_says_when_it_begins_anew(setting):
    before = datetime.now(UTC)  # noqa: TID251  # the gateway's own clock is the system's
    with (
        model_api(says(reply(200, {}))) as upstream,
        opened(a_grant(upstream.url, caps=Caps(**{setting: 0.0}))) as gate,
    ):
        answer = gate.client.post("/v1/chat/completions", json=CHAT)
    call = decisive(gate.door.calls())
    assert call is not None
    assert (answer.status_code, call.ending) == (402, Ending.BUDGET)
    assert "retry-after" not in answer.headers, "no agent shall wait for it"
    if setting in {"per_attempt_usd", "per_pull_usd"}:
        assert call.retry_after_s is None
        assert "anew" not in call.detail
        return
    assert call.retry_after_s is not None
    anew = call.at + timedelta(seconds=call.retry_after_s)
    assert (anew.hour, anew.minute, anew.second, anew.microsecond) == (0, 0, 0, 0)
    assert before < anew <= call.at + timedelta(days=1)
    assert f"it begins anew at {anew:%Y-%m-%d} 00:00 UTC" in call.detail


def test_a_storm_of_calls_spends_no_more_than_the_cap():
    """Denial of wallet: each holds back 0.0116 USD, and costs 0.0025; the cap is 0.05."""
    body = {**CHAT, "max_tokens": 1000}
    with model_api(says(reply(200, {"usage": USAGE}))) as upstream:
        grant = a_grant(upstream.url, caps=Caps(per_tenant_usd=0.05))
        with opened(grant, limits=Limits(calls=8)) as gate:

            def ask() -> None:
                through = httpx.HTTPTransport(uds=str(gate.door.socket), verify=False)
                with httpx.Client(transport=through, base_url="http://gateway") as client:
                    for _ in range(25):
                        client.post("/v1/chat/completions", json=body)

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        calls = gate.door.calls()
    (spend,) = set(gate.spent())
    assert len(calls) == 200
    assert spend.held_nano == 0
    assert spend.spent_nano == sum(call.cost_nano or 0 for call in calls) <= 50_000_000
    assert len(upstream.seen) == spend.spent_nano // 2_500_000
    assert {call.ending for call in calls} == {None, Ending.BUDGET}


def test_a_gateway_that_is_killed_in_a_stream_ends_it_and_its_money_counts_as_spent(tmp_path):
    def script(_request) -> Iterator[bytes]:
        yield stream()
        while True:
            yield piece(HALF)

    with model_api(script) as upstream:
        command = [sys.executable, "-m", model_server.__name__, "gateway"]
        with subprocess.Popen(
            [*command, str(tmp_path), upstream.url], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            path = server.stdout.readline().strip()
            through = httpx.HTTPTransport(uds=path, verify=False)
            with httpx.Client(transport=through, base_url="http://gateway") as client:
                body = {**CHAT, "stream": True}
                with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    read = answer.iter_raw()
                    assert HALF in next(read)
                    os.kill(server.pid, signal.SIGKILL)
                    with pytest.raises(httpx.TransportError):
                        list(read)
        assert upstream.left.wait(WAIT_S)
    database = connect("", tmp_path)
    try:
        ledger, now = SqlLedger(database), datetime.now(UTC)  # noqa: TID251
        name = accounts(model_server.ORIGIN, Caps(), now)[1].name
        held = ledger.spent(name)
        assert (held.spent_nano, held.held_nano > 0) == (0, True)
        assert ledger.abandon(now + timedelta(days=1)) == 1
        assert ledger.spent(name) == Spend(spent_nano=held.held_nano)
        (call,) = ledger.calls(model_server.ORIGIN.run)
        assert call.tokens == Tokens(call.tokens.input, asked.UNSTATED_OUTPUT)
    finally:
        database.close()


# --- The way out --------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_carries_the_call(monkeypatch):
    with model_api(says(reply(200, {"usage": USAGE}))) as proxy:
        address = proxy.url.removesuffix("/v1").replace("http://", "http://me:secret@")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        proxy_of.cache_clear()
        try:
            with opened(a_grant("http://vendor.example/v1")) as gate:
                answer = gate.client.post("/v1/chat/completions", json=CHAT)
        finally:
            proxy_of.cache_clear()
    (seen,) = proxy.seen
    assert answer.status_code == 200
    assert seen.path == "http://vendor.example/v1/chat/completions"
    assert seen.headers["proxy-authorization"] == f"Basic {b64encode(b'me:secret').decode()}"


def test_a_redirect_takes_the_key_nowhere():
    with model_api(says(reply(200, {}))) as elsewhere:
        moved = says(reply(307, b"", location=f"{elsewhere.url}/chat/completions"))
        with model_api(moved) as upstream, opened(a_grant(upstream.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, elsewhere.seen) == (424, [])
        assert "location" not in answer.headers


def test_the_folder_of_a_socket_is_closed_to_others():
    with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
        folder = Path(gate.door.socket).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.stat().st_uid == os.getuid()
