"""The gateway over real sockets: an agent on one side, a vendor's API on the other."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from bot.domain.answers import Ending
from bot.domain.chat import Completion, Endpoint, Failed, Message
from bot.domain.errors import TryLater
from bot.domain.models import (
    Api,
    Caps,
    Price,
    Spend,
    Tokens,
    accounts,
    cost_nano,
    decisive,
    ending_of,
)
from bot.domain.values import Secret
from bot.gateway.chat import Chat
from bot.gateway.proxy import Limits
from bot.simulator.model import Reply, ScriptedModel
from bot.store.memory import MemoryLedger
from tests.support.gateways import KEY, ORIGIN, PRICE, a_grant, agent, opened, running
from tests.support.model_api import WAIT_S, event, model_api, piece, reply, says, stream

SAID = "The operator is wrong: it subtracts. " * 4
PROMPT = "x" * 400
CHAT = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
RESPONSES = {"model": "m", "input": PROMPT}
MESSAGES = {"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": PROMPT}]}
GENERATE = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
GEMINI = "/v1beta/models/m"
CALLS = [
    pytest.param(Api.OPENAI, "/v1/chat/completions", CHAT, id="chat"),
    pytest.param(Api.OPENAI, "/chat/completions", CHAT, id="chat without version"),
    pytest.param(Api.OPENAI, "/v1/responses", RESPONSES, id="responses"),
    pytest.param(Api.ANTHROPIC, "/v1/messages?beta=true", MESSAGES, id="messages"),
    pytest.param(Api.GEMINI, f"{GEMINI}:generateContent", GENERATE, id="gemini"),
]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 50}
HALF = event({"choices": [{"delta": {"content": "I will start by"}}]})


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        model.will_answer("m", Reply(SAID, cached=40))
        yield model


def root(model: ScriptedModel, api: Api) -> str:
    """The base URL that an agent's own settings would have."""
    return model.url if api is Api.OPENAI else model.url.removesuffix("/v1")


def streamed(api: Api, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if api is Api.GEMINI:
        return f"{GEMINI}:streamGenerateContent?alt=sse&key=dummy", body
    return path, {**body, "stream": True}


class TestAccounting:
    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize(("api", "path", "body"), CALLS)
    def test_tokens_and_cost_are_what_the_api_tells(self, model, api, path, body, streams):
        if streams:
            path, body = streamed(api, path, body)
        with opened(a_grant(root(model, api), api)) as gate:
            answer = gate.client.post(path, json=body)
        call = gate.call
        assert call.cost_nano == 60 * 2_000 + 40 * 500 + 37 * 10_000
        assert gate.spent() == [Spend(spent_nano=call.cost_nano)] * 5
        assert answer.status_code == 200
        assert len(answer.text) > len(SAID)
        assert call.tokens == Tokens(input=100, output=len(SAID) // 4, cached=40)
        assert (call.model, call.status, call.ending, call.estimated) == ("m", 200, None, False)
        assert call.first_byte_s is not None
        assert 0 < call.first_byte_s <= call.seconds

    @pytest.mark.parametrize(("api", "path", "body"), CALLS)
    def test_the_vendor_gets_the_real_key_and_the_agent_never_has_it(self, model, api, path, body):
        with opened(a_grant(root(model, api), api)) as gate:
            gate.client.post(path, json=body, headers={"cookie": "a=b", "x-evil": "1"})
        bearer = f"Bearer {KEY}" if api is Api.OPENAI else KEY
        assert model.calls[-1].authorization == bearer

    def test_what_an_agent_streams_is_what_the_vendor_sent(self):
        sent = [HALF, event({"choices": [], "usage": USAGE}), b"data: [DONE]\n\n"]
        script = says(stream(), *(piece(part) for part in sent), piece(b""))
        with model_api(script) as api, opened(a_grant(api.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert answer.content == b"".join(sent)
        assert gate.call.tokens == Tokens(1000, 50)

    @pytest.mark.parametrize(("most", "output"), [(10, 10), (5_000, 500)])
    def test_a_reply_that_tells_no_tokens_is_guessed_from_its_length(self, most, output):
        with (
            model_api(says(reply(200, b'{"x":"' + b"x" * 1_992 + b'"}'))) as api,
            opened(a_grant(api.url)) as gate,
        ):
            gate.client.post("/v1/chat/completions", json={**CHAT, "max_tokens": most})
        sent = msgspec.json.encode({**CHAT, "max_tokens": most})
        assert gate.call.estimated
        assert gate.call.tokens == Tokens(input=-(-len(sent) // 4), output=output)

    def test_without_a_price_tokens_count_and_money_is_unknown(self, model):
        with opened(a_grant(model.url, price=None)) as gate:
            gate.client.post("/v1/chat/completions", json=CHAT)
        assert gate.spent() == [Spend()] * 5
        assert (gate.call.cost_nano, gate.call.tokens.input) == (None, 100)

    def test_what_is_free_is_no_call(self, model):
        with opened(a_grant(root(model, Api.ANTHROPIC), Api.ANTHROPIC)) as gate:
            counted = gate.client.post("/v1/messages/count_tokens", json=MESSAGES)
            listed = gate.client.get("/v1/models")
        assert (counted.status_code, listed.json()["data"][0]["id"]) == (200, "m")
        assert gate.door.calls() == ()

    def test_calls_are_reported_without_what_was_said(self, model):
        with opened(a_grant(model.url)) as gate:
            gate.client.post("/v1/chat/completions", json=CHAT)
        ((kind, labels),) = gate.heard.events
        assert (kind, labels["pull"], labels["backend"]) == ("model_call", "octo/hello#7", "codex")
        assert PROMPT not in repr(labels)
        assert SAID not in repr(labels)


class TestRequests:
    @pytest.mark.parametrize(
        ("api", "method", "path"),
        [
            (Api.OPENAI, "GET", "/"),
            (Api.OPENAI, "GET", "/v1/chat/completions"),
            (Api.OPENAI, "POST", "/v1/files"),
            (Api.OPENAI, "POST", "/v1/chat/completions/../../admin"),
            (Api.OPENAI, "POST", "/v1/%2e%2e/admin"),
            (Api.OPENAI, "POST", "/v1/messages"),
            (Api.OPENAI, "DELETE", "/v1/responses"),
            (Api.ANTHROPIC, "POST", "/v1/chat/completions"),
            (Api.ANTHROPIC, "POST", "/v1/messages/batches"),
            (Api.GEMINI, "POST", "/v1beta/models/a/b:generateContent"),
            (Api.GEMINI, "POST", "/v1beta/cachedContents"),
        ],
    )
    def test_only_known_paths_lead_anywhere(self, api, method, path):
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url, api)) as gate,
        ):
            answer = gate.client.request(method, path, json={})
        assert answer.status_code == 404
        assert "error" in answer.json()
        assert upstream.seen == []

    def test_headers_and_query_are_let_through_by_list(self):
        with (
            model_api(says(reply(200, {}, set_cookie="a=b", x_request_id="r1"))) as upstream,
            opened(a_grant(upstream.url, Api.ANTHROPIC)) as gate,
        ):
            answer = gate.client.post(
                "/v1/messages?beta=true&key=dummy&x=y",
                json=MESSAGES,
                headers={"anthropic-beta": "b1", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"},
            )
            gate.client.post("/v1/messages", json=MESSAGES)
        first, second = upstream.seen
        assert first.path == "/v1/messages?beta=true"
        assert first.headers["anthropic-beta"] == "b1"
        assert first.headers["x-api-key"] == KEY
        assert not {"authorization", "x-goog-api-key", "cookie", "x-forwarded-for"} & {
            *first.headers,
            *second.headers,
        }
        assert answer.headers["x-request-id"] == "r1"
        assert "set-cookie" not in answer.headers

    def test_a_chat_stream_is_asked_for_its_tokens(self):
        with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
            for more in ({}, {"stream": True}, {"stream": True, "stream_options": {"a": 1}}):
                gate.client.post("/v1/chat/completions", json={**CHAT, **more})
        asked = [request.body.get("stream_options") for request in upstream.seen]
        assert asked == [None, {"include_usage": True}, {"a": 1, "include_usage": True}]

    @pytest.mark.parametrize(
        ("api", "path", "given", "sent"),
        [
            pytest.param(
                Api.OPENAI,
                "/v1/responses",
                {
                    "background": True,
                    "tools": [
                        {"type": "web_search"},
                        {"type": "mcp", "server_url": "https://evil.example"},
                        {"type": "function", "name": "shell"},
                        {"type": "namespace", "tools": [{"type": "code_interpreter"}]},
                    ],
                    "input": [{"type": "additional_tools", "tools": [{"type": "file_search"}]}],
                },
                {
                    "tools": [
                        {"type": "function", "name": "shell"},
                        {"type": "namespace", "tools": []},
                    ],
                    "input": [{"type": "additional_tools", "tools": []}],
                },
                id="responses",
            ),
            pytest.param(
                Api.OPENAI,
                "/v1/chat/completions",
                {"web_search_options": {}, "plugins": [{"id": "web"}], "n": 2},
                {"n": 2},
                id="chat",
            ),
            pytest.param(
                Api.ANTHROPIC,
                "/v1/messages",
                {
                    "mcp_servers": [{"url": "https://evil.example"}],
                    "tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}],
                    "tool_choice": {"type": "any"},
                    "max_tokens": 5,
                },
                {"max_tokens": 5},
                id="messages",
            ),
            pytest.param(
                Api.GEMINI,
                f"{GEMINI}:generateContent",
                {"tools": [{"urlContext": {}, "functionDeclarations": [1]}, {"google_search": {}}]},
                {"tools": [{"functionDeclarations": [1]}]},
                id="gemini",
            ),
        ],
    )
    def test_what_a_vendor_would_do_for_the_agent_is_left_out(self, api, path, given, sent):
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url, api)) as gate,
        ):
            gate.client.post(path, json=given)
        assert upstream.seen[0].body == sent

    @pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"a":', b"[" * 100_000])
    def test_what_is_no_json_object_is_refused(self, body):
        with model_api(says(reply(200, {}))) as upstream, opened(a_grant(upstream.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", content=body)
        assert (answer.status_code, upstream.seen) == (400, [])
        assert gate.call.ending is Ending.INVALID

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_request_too_large_is_refused(self, chunked):
        body = json.dumps({**CHAT, "more": "x" * 2000}).encode()
        limits = Limits(request_bytes=1000)
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url), limits=limits) as gate,
        ):
            content = iter([body[:900], body[900:]]) if chunked else body
            answer = gate.client.post("/v1/chat/completions", content=content)
        assert (answer.status_code, upstream.seen) == (413, [])
        assert gate.call.ending is Ending.CONTEXT_EXCEEDED

    def test_only_the_models_of_the_grant_are_served(self):
        models = ("m", "small-*")
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url, models=models)) as gate,
        ):
            names = ("m", "small-1", "huge", "")
            asked = [{**CHAT, "model": name} for name in names]
            answers = [gate.client.post("/v1/chat/completions", json=one) for one in asked]
        assert [answer.status_code for answer in answers] == [200, 200, 404, 404]
        assert len(upstream.seen) == 2
        assert ending_of(gate.door.calls()) is Ending.NOT_FOUND

    def test_more_connections_than_a_grant_may_have_are_closed(self, model):
        with (
            opened(a_grant(model.url), limits=Limits(connections=2)) as gate,
            agent(gate.door) as second,
            agent(gate.door) as third,
        ):
            assert gate.client.get("/v1/models").status_code == 200
            assert second.get("/v1/models").status_code == 200
            with pytest.raises(httpx.TransportError):
                third.get("/v1/models")

    def test_a_socket_is_gone_with_its_door(self, model):
        with opened(a_grant(model.url)) as gate:
            assert gate.door.socket.parent.stat().st_mode & 0o077 == 0
            assert gate.client.get("/v1/models").status_code == 200
        assert not gate.door.socket.exists()


class TestCaps:
    @pytest.mark.parametrize("setting", Caps.__struct_fields__)
    def test_each_cap_refuses_before_anything_is_sent(self, setting):
        caps = Caps(**{setting: 0.01})
        with (
            model_api(says(reply(200, {"usage": USAGE}))) as upstream,
            opened(a_grant(upstream.url, caps=caps)) as gate,
        ):
            small = {**CHAT, "max_tokens": 100}  # 1000 * 2 + 50 * 10 USD per million: 0.0025
            statuses = [
                gate.client.post("/v1/chat/completions", json=small).status_code for _ in range(6)
            ]
        assert gate.spent()[0] == Spend(spent_nano=10_000_000)
        assert statuses == [200, 200, 200, 200, 402, 402]
        assert len(upstream.seen) == 4
        last = decisive(gate.door.calls())
        assert last is not None
        assert (last.cap, last.ending, last.cost_nano) == (
            f"budget.{setting}",
            Ending.BUDGET,
            0,
        )
        assert setting in last.detail

    @pytest.mark.parametrize(
        ("api", "path", "body", "shape"),
        [
            (Api.OPENAI, "/v1/responses", RESPONSES, ("code", "insufficient_quota")),
            (Api.ANTHROPIC, "/v1/messages", MESSAGES, ("type", "billing_error")),
            (Api.GEMINI, f"{GEMINI}:generateContent", GENERATE, ("status", "FAILED_PRECONDITION")),
        ],
        ids=["openai", "anthropic", "gemini"],
    )
    def test_a_refusal_is_in_the_vendors_words_and_not_to_be_tried_again(
        self, model, api, path, body, shape
    ):
        caps = Caps(per_pull_usd=0.0)
        with opened(a_grant(root(model, api), api, caps=caps)) as gate:
            answer = gate.client.post(path, json=body)
        field, word = shape
        assert answer.status_code == 402
        assert answer.json()["error"][field] == word
        assert "0 USD (budget.per_pull_usd)" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"

    def test_calls_at_one_time_cannot_both_take_what_is_left(self):
        """Each of six holds back a little less than half; how they overlap is up to the threads."""
        go = threading.Event()

        def script(_request) -> Iterator[bytes]:
            go.wait(WAIT_S)
            yield reply(200, {"usage": {"prompt_tokens": 0, "completion_tokens": 400}})

        grant: dict[str, Any] = {"caps": Caps(per_attempt_usd=0.01), "price": Price(0.0, 10.0)}
        with model_api(script) as upstream, opened(a_grant(upstream.url, **grant)) as gate:
            statuses: list[int] = []

            def ask() -> None:
                with agent(gate.door) as client:
                    body = {**CHAT, "max_tokens": 400}
                    statuses.append(client.post("/v1/chat/completions", json=body).status_code)
                if len(statuses) == 4:  # whoever is refused comes back at once
                    go.set()

            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert gate.spent()[0] == Spend(spent_nano=8_000_000)
        assert sorted(statuses) == [200, 200, 402, 402, 402, 402]

    def test_what_is_free_needs_no_budget(self, model):
        grant: dict[str, Any] = {"caps": Caps(per_day_usd=0.0), "price": Price(0.0, 0.0)}
        with opened(a_grant(model.url, **grant)) as gate:
            assert gate.client.post("/v1/chat/completions", json=CHAT).status_code == 200

    def test_a_ledger_that_cannot_be_read_lets_nothing_through(self):
        class Down(MemoryLedger):
            def reserve(self, call, accounts):
                raise TryLater("the database is down")

        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url), ledger=Down()) as gate,
        ):
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, upstream.seen) == (503, [])
        assert gate.call.ending is Ending.UNAVAILABLE
        assert "the database is down" in gate.call.detail

    def test_a_settlement_is_tried_again(self):
        class Hiccup(MemoryLedger):
            tries = 0

            def settle(self, call):
                self.tries += 1
                if self.tries == 1:
                    raise TryLater("busy")
                super().settle(call)

        with (
            model_api(says(reply(200, {"usage": USAGE}))) as upstream,
            opened(a_grant(upstream.url), ledger=Hiccup()) as gate,
        ):
            gate.client.post("/v1/chat/completions", json=CHAT)
            gate.client.post("/v1/chat/completions", json=CHAT)
        assert gate.spent() == [Spend(spent_nano=5_000_000)] * 5

    def test_a_call_waits_for_what_the_one_before_lets_go_of(self):
        class Slow(MemoryLedger):
            asked = threading.Event()

            def reserve(self, call, accounts):
                self.asked.set()
                return super().reserve(call, accounts)

            def settle(self, call):
                self.asked.clear()
                assert not self.asked.wait(0.2), "the next call did not wait"
                super().settle(call)

        caps = Caps(per_pull_usd=0.005)  # a call may cost 0.004, and costs 0.0025
        with (
            model_api(says(reply(200, {"usage": USAGE}))) as upstream,
            opened(a_grant(upstream.url, caps=caps), ledger=Slow()) as gate,
        ):
            first, second = ({**CHAT, "max_tokens": most} for most in (370, 200))
            statuses = [
                gate.client.post("/v1/chat/completions", json=body).status_code
                for body in (first, second)
            ]
        assert statuses == [200, 200]
        assert gate.spent() == [Spend(spent_nano=5_000_000)] * 5

    def test_an_agent_that_hangs_up_while_money_is_held_back_leaves_none_held(self):
        class Slow(MemoryLedger):
            entered, gone = threading.Event(), threading.Event()

            def reserve(self, call, accounts):
                self.entered.set()
                self.gone.wait(WAIT_S)
                return super().reserve(call, accounts)

        ledger = Slow()
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url), ledger=ledger) as gate,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(str(gate.door.socket))
            body = json.dumps(CHAT).encode()
            head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            assert ledger.entered.wait(WAIT_S)
            connection.close()
            while not gate.door.calls():  # until the gateway has noticed
                gate.client.get("/nowhere")
            ledger.gone.set()
        assert (gate.call.ending, gate.call.cost_nano, upstream.seen) == (Ending.KILLED, 0, [])
        assert gate.spent() == [Spend()] * 5
        assert len(ledger.calls("run-1")) == 1

    def test_what_a_dead_process_held_back_is_counted_as_spent(self, model):
        ledger = MemoryLedger()
        with running(ledger) as (gateway, _, _):
            with gateway.open(a_grant(model.url)) as door, agent(door) as client:
                client.post("/v1/chat/completions", json=CHAT)
                (call,) = door.calls()
            lost = msgspec.structs.replace(call, id="lost", at=call.at - timedelta(days=1))
            counted = accounts(ORIGIN, Caps(), call.at)
            assert ledger.reserve(lost, counted) is None
            with gateway.open(a_grant(model.url)):
                spent = ledger.spent(counted[0].name)
        assert spent == Spend(spent_nano=2 * (call.cost_nano or 0))


class TestBreaks:
    @pytest.mark.parametrize(
        ("api", "path", "body", "last"),
        [
            (Api.OPENAI, "/v1/chat/completions", CHAT, b'data: {"error":'),
            (Api.OPENAI, "/v1/responses", RESPONSES, b"event: response.failed\n"),
            (Api.ANTHROPIC, "/v1/messages", MESSAGES, b"event: error\n"),
            (Api.GEMINI, f"{GEMINI}:streamGenerateContent?alt=sse", GENERATE, b'data: {"error":'),
        ],
        ids=["chat", "responses", "messages", "gemini"],
    )
    def test_a_stream_that_the_vendor_cuts_ends_with_an_error(self, api, path, body, last):
        script = says(stream(), piece(HALF), piece(b'data: {"choices": [{"delta"'))
        with model_api(script) as upstream, opened(a_grant(upstream.url, api)) as gate:
            answer = gate.client.post(path, json={**body, "stream": True})
        call = gate.call
        assert gate.spent() == [Spend(spent_nano=call.cost_nano or -1)] * 5
        whole, _, words = answer.content.partition(last)
        assert (answer.status_code, whole) == (200, HALF)
        assert b"the call to 127.0.0.1 broke" in words
        assert words.endswith(b"\n\n")
        assert (call.ending, call.estimated) == (Ending.NETWORK, True)

    def test_a_cut_stream_costs_what_was_seen_of_it(self):
        begun = {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 900, "output_tokens": 1}},
        }
        text = event({"type": "content_block_delta", "delta": {"text": "x" * 100}})
        script = says(stream(), piece(event(begun)), piece(text))
        with (
            model_api(script) as upstream,
            opened(a_grant(upstream.url, Api.ANTHROPIC)) as gate,
        ):
            gate.client.post("/v1/messages", json={**MESSAGES, "stream": True})
        assert gate.call.tokens == Tokens(900, len(event(begun) + text) // 4)
        assert gate.call.estimated

    def test_an_agent_that_hangs_up_ends_the_vendors_work(self):
        def script(_request) -> Iterator[bytes]:
            yield stream()
            while True:  # until the gateway hangs up, which is the point
                yield piece(HALF)

        with model_api(script) as upstream, opened(a_grant(upstream.url)) as gate:
            body = {**CHAT, "stream": True}
            with gate.client.stream("POST", "/v1/chat/completions", json=body) as answer:
                next(answer.iter_raw())
            assert upstream.left.wait(WAIT_S)
        assert (gate.call.ending, gate.call.status) == (Ending.KILLED, 200)
        assert ending_of(gate.door.calls()) is None
        assert gate.spent() == [Spend(spent_nano=gate.call.cost_nano or -1)] * 5

    def test_an_agent_that_has_all_it_wanted_may_hang_up(self):
        over = threading.Event()

        def script(_request) -> Iterator[bytes]:
            yield stream() + piece(event({"usage": USAGE}) + b"data: [DONE]\n\n")
            over.wait(WAIT_S)
            yield piece(b"")

        with model_api(script) as upstream:
            with opened(a_grant(upstream.url)) as gate:
                body = {**CHAT, "stream": True}
                with gate.client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    assert b"[DONE]" in next(answer.iter_raw())
            over.set()
        assert (gate.call.ending, gate.call.tokens) == (None, Tokens(1000, 50))

    @pytest.mark.parametrize("stops", ["door", "gateway"])
    def test_a_gateway_that_stops_ends_streams_properly(self, stops):
        begun, read = threading.Event(), []

        def script(_request) -> Iterator[bytes]:
            yield stream() + piece(HALF)
            begun.wait(WAIT_S)
            while True:
                yield piece(HALF)

        with model_api(script) as upstream, running() as (gateway, ledger, _):
            with gateway.open(a_grant(upstream.url)) as door:

                def ask() -> None:
                    with agent(door) as client:
                        body = {**CHAT, "stream": True}
                        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                            for part in answer.iter_raw():
                                read.append(part)
                                begun.set()

                thread = threading.Thread(target=ask)
                thread.start()
                assert begun.wait(WAIT_S)
                if stops == "gateway":
                    gateway.stop()
            thread.join()
        assert b"the call was cut off" in read[-1]
        assert upstream.left.wait(WAIT_S)
        (call,) = door.calls()
        assert call.ending is Ending.KILLED
        assert ledger.spent(f"pull {ORIGIN.pull}") == Spend(spent_nano=call.cost_nano or -1)

    def test_nobody_there_is_told_and_costs_nothing(self):
        with model_api(says(b"")) as upstream:
            pass
        with opened(a_grant(upstream.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        assert answer.status_code == 502
        assert (gate.call.ending, gate.call.cost_nano) == (Ending.NETWORK, 0)

    @pytest.mark.parametrize("streams", [False, True])
    def test_a_vendor_that_falls_silent_is_a_time_out(self, streams):
        over = threading.Event()

        def script(_request) -> Iterator[bytes]:
            if streams:
                yield stream() + piece(HALF)
            over.wait(WAIT_S)
            yield b""

        with model_api(script) as upstream:
            with opened(a_grant(upstream.url), limits=Limits(silence_s=0.2)) as gate:
                body = {**CHAT, "stream": streams}
                answer = gate.client.post("/v1/chat/completions", json=body)
            over.set()
        assert answer.status_code == (200 if streams else 504)
        assert b"no answer from 127.0.0.1 within 0.2 s" in answer.content
        assert gate.call.ending is Ending.TIMEOUT
        assert gate.call.cost_nano == cost_nano(gate.call.tokens, PRICE)
        assert gate.call.tokens.output > 0

    @pytest.mark.parametrize(
        ("parts", "limits"),
        [
            pytest.param(piece(HALF), Limits(reply_bytes=10_000), id="many events"),
            pytest.param(piece(b"x" * 50), Limits(event_bytes=10_000), id="one event"),
            pytest.param(piece(HALF), Limits(call_s=0.3), id="for too long"),
        ],
    )
    def test_a_stream_without_end_is_cut(self, parts, limits):
        def script(_request) -> Iterator[bytes]:
            yield stream()
            while True:
                yield parts

        with (
            model_api(script) as upstream,
            opened(a_grant(upstream.url), limits=limits) as gate,
        ):
            answer = gate.client.post("/v1/chat/completions", json={**CHAT, "stream": True})
            assert upstream.left.wait(WAIT_S)
        assert b'data: {"error":' in answer.content
        assert gate.call.ending in {Ending.INVALID, Ending.TIMEOUT}

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            pytest.param(reply(200, b"<html>hello</html>"), "a web page", id="page"),
            pytest.param(reply(200, b"ok"), "something else", id="text"),
            pytest.param(reply(200, b""), "something else", id="nothing"),
            pytest.param(reply(302, b"", location="/elsewhere"), "answered 302", id="redirect"),
            pytest.param(reply(200, b"x" * 3000), "larger than 2000", id="oversize"),
            pytest.param(
                reply(200, b"\x1f\x8b", content_encoding="gzip"), "compresses", id="compressed"
            ),
        ],
    )
    @pytest.mark.parametrize("streams", [False, True])
    def test_what_is_no_reply_of_a_model_is_an_error_that_nobody_tries_again(
        self, sent, words, streams
    ):
        with (
            model_api(says(sent)) as upstream,
            opened(a_grant(upstream.url), limits=Limits(reply_bytes=2000)) as gate,
        ):
            body = {**CHAT, "stream": streams}
            answer = gate.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 424
        assert words in answer.json()["error"]["message"]
        assert gate.call.ending is Ending.INVALID
        assert len(upstream.seen) == 1

    def test_a_page_with_an_errors_status_becomes_the_vendors_error(self):
        with (
            model_api(says(reply(502, b"<html>bad gateway</html>"))) as upstream,
            opened(a_grant(upstream.url, Api.ANTHROPIC)) as gate,
        ):
            answer = gate.client.post("/v1/messages", json=MESSAGES)
        assert (answer.status_code, answer.json()["type"]) == (502, "error")
        assert gate.call.ending is Ending.UNAVAILABLE


class TestSecrets:
    def test_a_key_that_the_vendor_repeats_does_not_come_back(self):
        repeated = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "x"}}
        sent = reply(401, repeated, x_request_id=f"for {KEY}")
        with model_api(says(sent)) as upstream, opened(a_grant(upstream.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        shown = answer.text + repr(answer.headers) + repr(gate.heard.events) + repr(gate.call)
        assert "Incorrect API key provided: ***" in answer.text
        assert KEY not in shown
        assert gate.call.ending is Ending.AUTH

    @pytest.mark.parametrize("at", [1, len(KEY) // 2, len(KEY) - 1])
    def test_nor_in_two_pieces_of_a_stream(self, at):
        parts = (f"data: {KEY[:at]}".encode(), f"{KEY[at:]} end\n\n".encode())
        script = says(stream(), *map(piece, parts), piece(b""))
        with model_api(script) as upstream, opened(a_grant(upstream.url)) as gate:
            answer = gate.client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert answer.text == "data: *** end\n\n"

    def test_nor_in_a_whole_reply(self):
        with (
            model_api(says(reply(200, {"echo": KEY}))) as upstream,
            opened(a_grant(upstream.url)) as gate,
        ):
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        assert answer.json() == {"echo": "***"}

    @pytest.mark.parametrize("key", ["sk-ü", "sk\nx"])
    def test_a_key_that_no_header_can_carry_is_said_without_it(self, key):
        with (
            model_api(says(reply(200, {}))) as upstream,
            opened(a_grant(upstream.url, key=Secret(key))) as gate,
        ):
            answer = gate.client.post("/v1/chat/completions", json=CHAT)
        assert answer.status_code in {401, 424}
        assert key not in answer.text + repr(gate.heard.events)
        assert gate.call.ending in {Ending.AUTH, Ending.INVALID}


class TestChat:
    """The patch worker's client goes through a door like any agent."""

    def ask(self, gate) -> Completion | Failed:
        through = Endpoint("http://gateway/v1", socket=gate.door.socket, max_retries=0)
        return Chat().complete(
            through,
            (Message("user", PROMPT),),
            model="m",
            temperature=None,
            timeout_s=30,
            stop=lambda: False,
        )

    def test_its_calls_are_counted(self, model):
        with opened(a_grant(model.url)) as gate:
            result = self.ask(gate)
        assert result == Completion(SAID, 100, len(SAID) // 4)
        assert gate.call.tokens.input == 100
        assert model.calls[-1].authorization == f"Bearer {KEY}"

    def test_it_understands_a_cap(self, model):
        with opened(a_grant(model.url, caps=Caps(per_pull_usd=0.0))) as gate:
            result = self.ask(gate)
        assert isinstance(result, Failed)
        assert result.ending is Ending.BUDGET
        assert gate.call.cap == "budget.per_pull_usd"
