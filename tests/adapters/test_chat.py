import asyncio
import json
import threading

import pytest

from bot.domain.answers import Ending
from bot.domain.chat import Completion, Endpoint, Failed, Message
from bot.domain.values import Secret
from bot.gateway import chat as gateway
from bot.gateway import replies
from bot.gateway.chat import Chat
from tests.support.chat_server import ChatServer, Sent, fails, says, serving

KEY = "sk-canary-4711"
ASK = (Message("system", "rules"), Message("user", "mend it"))


class Pauses:
    """A sleep that takes no time and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def call(server: ChatServer, *, timeout_s=10.0, temperature=None, stop=lambda: False, **changes):
    endpoint = Endpoint(server.url, Secret(KEY), **{"max_retries": 0, **changes})
    sleep = Pauses()
    result = Chat(sleep=sleep).complete(
        endpoint, ASK, model="m-1", temperature=temperature, timeout_s=timeout_s, stop=stop
    )
    return result, sleep.asked


def test_a_completion_comes_with_its_tokens():
    with serving(says("hello")) as server:
        result, _ = call(server, temperature=0.2)

    assert result == Completion("hello", 1000, 200)
    path, headers, body = server.seen[0]
    assert (path, headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body == {
        "model": "m-1",
        "temperature": 0.2,
        "messages": [
            {"role": "system", "content": "rules"},
            {"role": "user", "content": "mend it"},
        ],
    }


def test_parts_are_joined_and_no_key_sends_no_header():
    with serving(says(None, content=[{"type": "text", "text": "he"}, {"text": "llo"}])) as server:
        result = Chat().complete(
            Endpoint(server.url + "/"),
            ASK,
            model="m",
            temperature=None,
            timeout_s=10,
            stop=lambda: False,
        )

    assert isinstance(result, Completion)
    assert result.text == "hello"
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions"
    assert "authorization" not in headers
    assert "temperature" not in body


QUOTA = "You exceeded your current quota, please check your plan and billing details."
GEMINI_DAY = {
    "code": 429,
    "status": "RESOURCE_EXHAUSTED",
    "message": QUOTA,
    "details": [
        {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "32413s"},
    ],
}
GEMINI_MINUTE = json.loads(json.dumps(GEMINI_DAY).replace("PerDay", "PerMinute"))


@pytest.mark.parametrize(
    ("reply", "ending", "said"),
    [
        pytest.param(fails(401, {"message": "no"}), Ending.AUTH, "401: no", id="401"),
        pytest.param(fails(403, {"message": "region"}), Ending.AUTH, "403", id="403"),
        pytest.param(
            fails(400, {"message": "API key not valid."}), Ending.AUTH, "400", id="gemini key"
        ),
        pytest.param(fails(402, {"message": "pay"}), Ending.USAGE_LIMIT, "402", id="402"),
        pytest.param(
            fails(429, {"message": QUOTA, "code": "insufficient_quota"}),
            Ending.USAGE_LIMIT,
            "quota",
            id="429 quota",
        ),
        pytest.param(fails(429, GEMINI_DAY), Ending.USAGE_LIMIT, "quota", id="gemini day"),
        pytest.param(fails(429, GEMINI_MINUTE), Ending.RATE_LIMITED, "quota", id="gemini minute"),
        pytest.param(fails(429, {"message": "slow"}), Ending.RATE_LIMITED, "429", id="429"),
        pytest.param(Sent(429, b"<html>"), Ending.RATE_LIMITED, "429", id="429 without JSON"),
        pytest.param(
            fails(400, {"message": "Your credit balance is too low"}),
            Ending.USAGE_LIMIT,
            "credit",
            id="anthropic credit",
        ),
        pytest.param(
            fails(404, {"code": "model_not_found"}), Ending.NOT_FOUND, "404", id="no model"
        ),
        pytest.param(
            fails(400, {"code": "context_length_exceeded"}),
            Ending.CONTEXT_EXCEEDED,
            "400",
            id="context",
        ),
        pytest.param(
            fails(400, {"message": "prompt is too long: 214536 tokens > 200000 maximum"}),
            Ending.CONTEXT_EXCEEDED,
            "too long",
            id="anthropic context",
        ),
        pytest.param(Sent(413, b""), Ending.CONTEXT_EXCEEDED, "413", id="413"),
        pytest.param(
            fails(400, {"code": "content_policy_violation"}), Ending.REFUSED, "400", id="policy"
        ),
        pytest.param(fails(400, {"message": "bad"}), Ending.INVALID, "400: bad", id="400"),
        pytest.param(fails(500, {"message": "oh"}), Ending.UNAVAILABLE, "500: oh", id="500"),
        pytest.param(Sent(529, b"Overloaded"), Ending.UNAVAILABLE, "529", id="529"),
        pytest.param(Sent(504, b"<html>"), Ending.TIMEOUT, "504", id="504"),
        pytest.param(Sent(302, b"", {"Location": "/x"}), Ending.INVALID, "redirects", id="302"),
        pytest.param(Sent(200, b"<!doctype html>"), Ending.INVALID, "web page", id="html"),
        pytest.param(Sent(200, b"ok"), Ending.INVALID, "no JSON", id="no JSON"),
        pytest.param(Sent(200, b""), Ending.INVALID, "is empty", id="empty body"),
        pytest.param(Sent(200, b"[" * 200_000), Ending.INVALID, "no JSON", id="deep JSON"),
        pytest.param(Sent(200, b'{"choices":[]}'), Ending.INVALID, "no message", id="no choice"),
        pytest.param(
            Sent(200, b'{"error":{"code":429,"message":"upstream"}}'),
            Ending.RATE_LIMITED,
            "upstream",
            id="error in a 200",
        ),
        pytest.param(says("x", finish="length"), Ending.INVALID, "cut off", id="length"),
        pytest.param(says("", finish="content_filter"), Ending.REFUSED, "refused", id="filter"),
        pytest.param(says(None, refusal="I won't"), Ending.REFUSED, "I won't", id="refusal"),
        pytest.param(says("  "), Ending.INVALID, "is empty", id="empty answer"),
        pytest.param(
            Sent(200, b" " * (gateway.MOST_BYTES + 1)), Ending.INVALID, "larger", id="oversize"
        ),
        pytest.param(Sent(200, b"{", cut=True), Ending.NETWORK, "127.0.0.1", id="cut"),
    ],
)
def test_a_failure_is_told_by_its_status(reply, ending, said):
    with serving(reply) as server:
        result, _ = call(server)

    assert isinstance(result, Failed)
    assert result.ending is ending
    assert said in result.detail
    assert len(server.seen) == 1


def test_nobody_there_is_a_network_failure():
    with serving(says("x")) as server:
        pass
    result, pauses = call(server, max_retries=2)

    assert isinstance(result, Failed)
    assert result.ending is Ending.NETWORK
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:x"]
)
def test_a_malformed_address_is_said(url):
    result, _ = call(ChatServer(url, []))

    assert isinstance(result, Failed)
    assert result.ending in {Ending.INVALID, Ending.NETWORK}


@pytest.mark.parametrize("key", ["sk-ü", "sk\nx"])
def test_a_key_that_no_header_can_carry_is_said_without_it(key):
    with serving(says("x")) as server:
        result = Chat().complete(
            Endpoint(server.url, Secret(key), max_retries=0),
            ASK,
            model="m",
            temperature=None,
            timeout_s=10,
            stop=lambda: False,
        )

    assert isinstance(result, Failed)
    assert result.ending in {Ending.AUTH, Ending.INVALID}
    assert key not in repr(result)


def test_a_reply_that_does_not_come_is_a_time_out_and_not_tried_again():
    with serving(Sent(hang=True)) as server:
        result, _ = call(server, timeout_s=0.3, max_retries=3)

    assert isinstance(result, Failed)
    assert result.ending is Ending.TIMEOUT
    assert len(server.seen) == 1


def test_outages_are_tried_again_within_bounds():
    with serving(Sent(503), Sent(500), says("here")) as server:
        result, pauses = call(server, max_retries=2)

    assert isinstance(result, Completion)
    assert len(pauses) == 2
    assert pauses[0] < pauses[1] <= 21

    with serving(Sent(503)) as server:
        result, _ = call(server, max_retries=2)

    assert isinstance(result, Failed)
    assert len(server.seen) == 3


def test_a_short_wait_is_kept_and_a_long_one_handed_back():
    with serving(fails(429, {}, retry_after="7"), says("here")) as server:
        result, pauses = call(server, max_retries=1)
    assert isinstance(result, Completion)
    assert pauses == [7]

    with serving(fails(429, {}, retry_after="3600")) as server:
        result, pauses = call(server, max_retries=5, usage_limit_retries=5)
    assert isinstance(result, Failed)
    assert (result.retry_after_s, pauses) == (3600, [])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        (
            {
                "date": "Sat, 21 Nov 2026 10:00:00 GMT",
                "retry-after": "Sat, 21 Nov 2026 12:00:00 GMT",
            },
            7200,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({}, 32413),
    ],
)
def test_the_time_to_wait_is_read_from_headers_then_words(headers, seconds):
    body = json.dumps({"error": GEMINI_DAY}) if not headers else "{}"
    result = replies.read(429, headers, body.encode())

    assert isinstance(result, Failed)
    assert result.retry_after_s == seconds


@pytest.mark.parametrize("error", [{"message": QUOTA}, {"message": "slow down"}])
def test_limits_are_tried_again_as_the_settings_say(error):
    with serving(fails(429, error)) as server:
        result, pauses = call(server, usage_limit_retries=3, usage_limit_wait_s=30)

    assert isinstance(result, Failed)
    assert pauses == [30, 30, 30]
    assert len(server.seen) == 4

    with serving(fails(429, error)) as server:
        call(server, max_retries=3)
    assert len(server.seen) == 1


def test_stop_ends_a_call_that_waits():
    with serving(Sent(hang=True)) as server:
        result, _ = call(server, timeout_s=60, stop=server.arrived.is_set)

    assert isinstance(result, Failed)
    assert result.ending is Ending.KILLED


def test_stop_ends_a_pause():
    stopped = threading.Event()

    async def pause(_seconds: float) -> None:
        stopped.set()
        await asyncio.sleep(60)

    with serving(Sent(503)) as server:
        result = Chat(sleep=pause).complete(
            Endpoint(server.url),
            ASK,
            model="m",
            temperature=None,
            timeout_s=60,
            stop=stopped.is_set,
        )

    assert isinstance(result, Failed)
    assert result.ending is Ending.KILLED


def test_the_key_never_shows():
    with serving(fails(401, {"message": f"Incorrect API key provided: {KEY}"})) as server:
        result, _ = call(server)

    assert isinstance(result, Failed)
    assert KEY not in repr(result)
    assert "***" in result.detail
    assert KEY not in repr(Endpoint(server.url, Secret(KEY)))
