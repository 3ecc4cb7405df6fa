"""What the gateway reads from replies, and what it makes of it: no sockets."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.build import build
from bot.config.document import parse
from bot.domain.answers import Ending
from bot.domain.errors import ConfigError
from bot.domain.models import (
    Api,
    Call,
    Caps,
    Origin,
    Price,
    Tokens,
    accounts,
    cost_nano,
    decisive,
    ending_of,
)
from bot.domain.values import PullRef, Secret
from bot.gateway import apis, replies
from bot.gateway.events import Events, hidden, unspoken
from bot.gateway.upstream import proxy_of
from bot.gateway.usage import Meter

KEY = Secret("sk-canary")
ESTIMATE = Tokens(500, 2000)
ORIGIN = Origin("run-1", 2, PullRef("octo/hello", 7), "42", "codex")
NOW = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)


def line(data: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


MESSAGE = {
    "type": "message_start",
    "message": {
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 200,
            "output_tokens": 1,
        }
    },
}
RESPONSE = {
    "type": "response.completed",
    "response": {
        "usage": {
            "input_tokens": 900,
            "input_tokens_details": {"cached_tokens": 800},
            "output_tokens": 70,
        }
    },
}
GEMINI = {"usageMetadata": {"promptTokenCount": 50, "candidatesTokenCount": 3}}
STREAMS = {
    "openai: every chunk names usage, the last one tells": (
        line({"choices": [{"delta": {"content": "x"}}], "usage": None}) * 3
        + line({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
        + b"data: [DONE]\n\n",
        Tokens(7, 5),
    ),
    "responses: at the end": (
        line({"type": "response.created", "response": {"usage": None}}) + line(RESPONSE),
        Tokens(900, 70, 800),
    ),
    "anthropic: the input at the beginning, the output at the end": (
        line(MESSAGE, "message_start")
        + line({"type": "message_delta", "usage": {"output_tokens": 44}}, "message_delta"),
        Tokens(510, 44, 200, 300),
    ),
    "gemini: running totals, thoughts are output": (
        line(GEMINI)
        + line(
            {
                "usageMetadata": {
                    "promptTokenCount": 50,
                    "toolUsePromptTokenCount": 2,
                    "cachedContentTokenCount": 30,
                    "candidatesTokenCount": 9,
                    "thoughtsTokenCount": 100,
                }
            }
        ),
        Tokens(52, 109, 30),
    ),
    "what a model writes is not what the API tells": (
        line({"choices": [{"delta": {"content": '{"usage": {"prompt_tokens": 9999999}}'}}]})
        + line({"usage": {"prompt_tokens": 7, "completion_tokens": 5}}),
        Tokens(7, 5),
    ),
    "nor are a tool's arguments": (
        line({"candidates": [{"functionCall": {"args": {"error": {}, "usage": {"x": 1}}}}]})
        + line(GEMINI),
        Tokens(50, 3),
    ),
    "nonsense counts for nothing": (
        line({"usage": {"prompt_tokens": -5, "completion_tokens": "many", "x": 10**30}}),
        Tokens(0, 0),
    ),
    "lines may end as on Windows": (
        line({"usage": {"prompt_tokens": 7, "completion_tokens": 5}}).replace(b"\n", b"\r\n"),
        Tokens(7, 5),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_tokens_are_read_from_every_vendors_stream(name: str):
    stream, tokens = STREAMS[name]
    meter = Meter()
    meter.watch(stream)
    assert (meter.tokens(ESTIMATE), meter.complete, meter.failure) == (tokens, True, None)


@given(st.data())
def test_however_a_stream_is_cut_into_pieces_it_comes_out_the_same(data: st.DataObject):
    stream = data.draw(st.sampled_from([stream for stream, _ in STREAMS.values()]))
    stream += f"data: {KEY.reveal()}\n\n".encode() + data.draw(st.sampled_from([b"", b"data: x"]))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    events, whole = Events(KEY), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        whole.append(events.cut(stream[start:end]))
    assert all(not part or part.endswith((b"\n\n", b"\n\r\n")) for part in whole)
    assert b"".join(whole) + events.rest() == stream.replace(b"sk-canary", b"***")

    at_once, piecemeal = Meter(), Meter()
    at_once.watch(stream)
    for part in whole:
        piecemeal.watch(part)
    assert piecemeal.tokens(ESTIMATE) == at_once.tokens(ESTIMATE)


@given(st.binary(max_size=200))
def test_no_bytes_upset_a_meter(noise: bytes):
    for meter in (Meter(), Meter()):
        meter.watch(noise + b'\ndata: {"error": {' + noise + b'"usage": {' + noise)
        meter.read(noise)
        assert meter.tokens(ESTIMATE).output <= ESTIMATE.output


@pytest.mark.parametrize(
    ("watched", "tokens"),
    [
        pytest.param(b"", ESTIMATE, id="nothing came"),
        pytest.param(b"data: x\n\n" * 40, Tokens(500, 90), id="something came"),
        pytest.param(b"data: x\n\n" * 4000, Tokens(500, 2000), id="no more than was estimated"),
        pytest.param(line(MESSAGE), Tokens(510, len(line(MESSAGE)) // 4, 200, 300), id="begun"),
        pytest.param(line({"error": {"message": "no"}}), Tokens(), id="an error is free"),
        pytest.param(
            line({"type": "response.created", "response": {"usage": None}})
            + line({"type": "response.failed", "response": {"error": {"code": "x"}}}),
            Tokens(),
            id="also after a greeting",
        ),
        pytest.param(
            (written := line({"choices": [{"delta": {"content": "x" * 400}}]}))
            + (broke := line({"error": {"message": "no"}})),
            Tokens(500, len(written + broke) // 4),
            id="but not after half an answer",
        ),
    ],
)
def test_a_reply_that_broke_off_is_counted_by_what_was_seen(watched: bytes, tokens: Tokens):
    meter = Meter()
    meter.watch(watched)
    assert meter.tokens(ESTIMATE) == tokens
    assert not meter.complete


@pytest.mark.parametrize(
    ("event", "ending"),
    [
        ({"error": {"code": "rate_limit_exceeded", "type": "x"}}, Ending.RATE_LIMITED),
        ({"error": {"code": "insufficient_quota"}}, Ending.USAGE_LIMIT),
        ({"error": {"code": 503, "status": "UNAVAILABLE"}}, Ending.UNAVAILABLE),
        ({"error": {"code": None, "message": "oh"}}, Ending.UNAVAILABLE),
        ({"type": "error", "error": {"type": "overloaded_error"}}, Ending.UNAVAILABLE),
        ({"type": "error", "error": {"type": "authentication_error"}}, Ending.AUTH),
        ({"type": "error", "code": "context_length_exceeded"}, Ending.CONTEXT_EXCEEDED),
        (
            {"type": "response.failed", "response": {"error": {"code": "model_not_found"}}},
            Ending.NOT_FOUND,
        ),
    ],
)
def test_an_error_inside_a_stream_is_told_by_its_name(event: dict[str, Any], ending: Ending):
    meter = Meter()
    meter.watch(line({"choices": []}) + line(event))
    assert meter.failure is not None
    assert meter.failure.ending is ending


def test_gemini_tells_its_tokens_before_its_last_word():
    meter = Meter()
    meter.watch(line({"candidates": [{"content": {}}], **GEMINI}))
    assert (meter.complete, meter.finished) == (True, False)
    meter.watch(line({"candidates": [{"finishReason": "STOP"}], **GEMINI}))
    assert meter.finished


def test_a_spent_subscription_is_told_from_a_short_limit():
    body = json.dumps({"error": {"type": "rate_limit_error", "message": "later"}}).encode()
    spent = {"anthropic-ratelimit-unified-status": "rejected", "retry-after": "10800"}
    assert replies.refused(429, {}, body).ending is Ending.RATE_LIMITED
    assert replies.refused(429, spent, body).ending is Ending.USAGE_LIMIT
    assert replies.refused(429, spent, body).retry_after_s == 10800


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7.0),
        ("Fri, 02 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 00:00:30 +99999999999999999999", None),
        ("Fri, 02 Jan 99999 00:00:30 GMT", None),
        ("9" * 400, None),
        ("soon", None),
    ],
)
def test_a_wait_is_read_by_the_replys_own_clock(value: str, wait: float | None):
    headers = {"retry-after": value, "date": "Fri, 02 Jan 2026 00:00:00 GMT"}
    assert replies.refused(429, headers, b"{}").retry_after_s == wait


@pytest.mark.parametrize(
    ("api", "base", "path", "address"),
    [
        (Api.OPENAI, "https://a.example/v1", "/v1/responses", "https://a.example/v1/responses"),
        (Api.OPENAI, "https://a.example/api/v1/", "/v1/models", "https://a.example/api/v1/models"),
        (
            Api.OPENAI,
            "https://a.example/x",
            "/chat/completions",
            "https://a.example/x/chat/completions",
        ),
        (Api.ANTHROPIC, "https://a.example", "/v1/messages", "https://a.example/v1/messages"),
        (Api.ANTHROPIC, "https://a.example/v1", "/v1/messages", "https://a.example/v1/messages"),
        (
            Api.GEMINI,
            "https://a.example/v1beta",
            "/v1beta/models/g-2.5:generateContent",
            "https://a.example/v1beta/models/g-2.5:generateContent",
        ),
    ],
)
def test_a_version_stands_once_in_an_address(api: Api, base: str, path: str, address: str):
    method = "GET" if path.endswith("/models") else "POST"
    match = apis.match(api, method, path)
    assert match is not None
    assert apis.address(base, match.below) == address


def test_the_machines_own_proxy_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_of("https", "vendor.example") == "http://proxy.example:3128"
    assert proxy_of("https", "inside.example") is None
    assert proxy_of("http", "vendor.example") is None


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 424, 502, 503, 504])
def test_our_errors_are_read_back_as_what_they_mean(api: Api, status: int):
    """What the gateway writes for an agent, its own reader of vendors' errors understands."""
    body = apis.error(api, status, "because")
    assert "because" in replies.refused(status, {}, body).detail
    for dialect in {route.dialect for route in apis.FAMILIES[api].routes}:
        meter = Meter()
        meter.watch(apis.last_words(api, dialect, status, "because"))
        assert meter.failure is not None
        assert "because" in meter.failure.detail


@pytest.mark.parametrize(
    ("tokens", "price", "nano"),
    [
        (Tokens(1_000_000, 0), Price(1.25, 10.0), 1_250_000_000),
        (Tokens(0, 1_000_000), Price(1.25, 10.0), 10_000_000_000),
        (Tokens(1, 1), Price(0.01, 0.04), 50),
        (Tokens(1000, 0, cached=600, written=100), Price(1.0, 0.0), 1_000_000),
        (Tokens(1000, 0, cached=600, written=100), Price(1.0, 0.0, 0.1, 1.25), 485_000),
        (Tokens(10, 0, cached=600), Price(1.0, 0.0, 0.0), 0),
    ],
)
def test_cost_is_in_whole_billionths(tokens: Tokens, price: Price, nano: int):
    assert cost_nano(tokens, price) == nano
    assert cost_nano(tokens, None) is None


def test_a_call_is_counted_in_five_accounts():
    found = accounts(ORIGIN, Caps(per_pull_usd=2.5, per_day_usd=0.0), NOW)
    assert [(one.name, one.setting, one.cap_nano) for one in found] == [
        ("attempt run-1/2", "per_attempt_usd", None),
        ("pull octo/hello#7", "per_pull_usd", 2_500_000_000),
        ("repo octo/hello on 2026-01-02", "per_repo_usd", None),
        ("tenant 42 on 2026-01-02", "per_tenant_usd", None),
        ("all on 2026-01-02", "per_day_usd", 0),
    ]


def a_call(ending: Ending | None, **changes: Any) -> Call:
    call = Call("c", ORIGIN, NOW, "m", Tokens(), None, ending=ending)
    return msgspec.structs.replace(call, **changes)


@pytest.mark.parametrize(("key", "told"), [("k", "ok, take it"), ("sk-12345", "ok, t*** it")])
def test_a_key_that_is_a_word_like_any_other_is_not_struck_out(key, told):
    said = f"ok, t{'ake' if key == 'k' else key} it"
    assert hidden(said.encode(), key.encode()) == told.encode()
    assert unspoken(said, Secret(key)) == told


@pytest.mark.parametrize(
    ("endings", "ending"),
    [
        ([], None),
        ([None], None),
        ([Ending.RATE_LIMITED, None], None),
        ([None, Ending.RATE_LIMITED], Ending.RATE_LIMITED),
        ([Ending.UNAVAILABLE, Ending.AUTH], Ending.AUTH),
        ([Ending.AUTH, Ending.KILLED], Ending.AUTH),
        ([None, Ending.KILLED], None),
        ([Ending.KILLED], None),
    ],
)
def test_the_last_call_that_was_not_cut_off_decides(
    endings: list[Ending | None], ending: Ending | None
):
    assert ending_of([a_call(one) for one in endings]) is ending


def test_the_deciding_call_says_why():
    cap = a_call(Ending.BUDGET, cap="budget.per_pull_usd", retry_after_s=None)
    assert decisive([a_call(None), cap, a_call(Ending.KILLED)]) == cap


PRICED = "[backends.mine]\napi_key = 'k'\nprice_in = 1\nprice_out = 2\n"


class TestBudget:
    def configured(self, text: str):
        return build(parse(text, "llm_config.toml"), {})[0]

    def test_caps_and_prices_are_read(self):
        more = "price_cached = 0.1\nmodels = ['m-*']\n[budget]\nper_pull_usd = 5\nper_day_usd = 0.5"
        found = self.configured(PRICED + more)
        assert found.budget == Caps(per_pull_usd=5.0, per_day_usd=0.5)
        assert found.backends["mine"].price == Price(1.0, 2.0, 0.1)
        assert found.backends["mine"].models == ("m-*",)
        assert found.origin["budget.per_pull_usd"] == "llm_config.toml:8"
        assert self.configured(PRICED).budget == Caps()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[budget]\nper_pull_usd = -1", "llm_config.toml:2: budget.per_pull_usd"),
            ("[budget]\nper_day_usd = '5'", "llm_config.toml:2: budget.per_day_usd"),
            ("[budget]\nper_day_usd = inf", "llm_config.toml:2: budget.per_day_usd"),
            ("[budget]\nper_day_usd = nan", "llm_config.toml:2: budget.per_day_usd"),
            (PRICED.replace("2", "nan"), "llm_config.toml:4: backends.mine.price_out"),
            (
                "[budget]\nper_day_usd = 5\n[backends.mine]\napi_key = 'k'\nprice_in = 1",
                "llm_config.toml:3: backends.mine needs price_in and price_out",
            ),
            (
                "[budget]\nper_day_usd = 5\n[mine]\nbase_url = 'http://127.0.0.1:1'",
                "llm_config.toml:3: mine needs price_in and price_out",
            ),
        ],
    )
    def test_what_cannot_hold_is_refused(self, text: str, words: str):
        with pytest.raises(ConfigError) as refused:
            self.configured(text)
        assert words in str(refused.value)

    def test_what_costs_nothing_here_needs_no_price(self):
        text = """
        [budget]
        per_day_usd = 5
        [backends.claude]
        model = "sonnet"
        [backends.own]
        command = "my-agent"
        api_key = "k"
        [backends.off]
        enabled = false
        api_key = "k"
        """
        assert self.configured(text).budget.per_day_usd == 5

    def test_a_misspelt_cap_is_warned_about(self):
        found = self.configured("[budget]\nper_pul_usd = 5")
        assert any("per_pull_usd" in warning for warning in found.warnings)
