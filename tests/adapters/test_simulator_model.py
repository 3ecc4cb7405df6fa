"""The scripted model, asked over loopback."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bot.simulator.model import Reply, ScriptedModel


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


def ask(model: ScriptedModel, prompt: str = "Mend it", name: str = "m", **more) -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": prompt}], **more}
    headers = {"Authorization": "Bearer key"}
    return httpx.post(f"{model.url}/chat/completions", json=body, headers=headers)


def text(reply: httpx.Response) -> str:
    return str(reply.json()["choices"][0]["message"]["content"])


def test_replies_come_in_order_and_the_last_is_repeated(model):
    model.will_answer("m", "one", "two")
    assert [text(ask(model)) for _ in range(3)] == ["one", "two", "two"]


def test_each_key_has_its_own_replies(model):
    model.will_answer("m", "first", "second", key="o/r#1")
    model.will_answer("m", "twelve", key="o/r#12")
    model.will_answer("m", "any")
    prompts = ["o/r#1 please", "o/r#12 please", "o/r#11", "o/r#1: again"]
    assert [text(ask(model, prompt)) for prompt in prompts] == ["first", "twelve", "any", "second"]
    assert [call.key for call in model.calls] == ["o/r#1", "o/r#12", "", "o/r#1"]


def test_models_do_not_share_replies(model):
    model.will_answer("m", "from m")
    model.will_answer("n", "from n")
    assert [text(ask(model, name=name)) for name in "mn"] == ["from m", "from n"]
    listed = httpx.get(f"{model.url}/models").json()["data"]
    assert [entry["id"] for entry in listed] == ["m", "n"]


def test_a_reply_has_the_usual_shape(model):
    model.will_answer("m", "hello there")
    reply = ask(model, "x" * 400).json()
    assert (reply["object"], reply["choices"][0]["finish_reason"]) == ("chat.completion", "stop")
    assert reply["usage"] == {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}


def test_a_streamed_reply_is_the_same_text(model):
    said = "a text that needs more than one piece, " * 4
    model.will_answer("m", said)
    reply = ask(model, stream=True, stream_options={"include_usage": True})
    *events, last = [line[6:] for line in reply.text.splitlines() if line]
    chunks = [json.loads(event) for event in events]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == said
    assert (last, chunks[-1]["usage"]["completion_tokens"]) == ("[DONE]", len(said) // 4)
    assert reply.headers["content-type"].startswith("text/event-stream")


def test_calls_are_recorded(model):
    model.will_answer("m", "ok")
    parts = [{"type": "text", "text": "in"}, {"type": "text", "text": "parts"}]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}], "temperature": 0}
    headers = {"Authorization": "Bearer key"}
    httpx.post(f"{model.url}/chat/completions", json=body, headers=headers)
    (call,) = model.calls
    assert (call.prompt, call.authorization, call.stream) == ("in\nparts", "Bearer key", False)
    assert call.body["temperature"] == 0


def test_an_error_has_its_status_headers_and_body(model):
    limited = Reply(status=429, headers={"Retry-After": "7"}, text="Slow down")
    page = Reply(status=502, body="<html>Bad gateway</html>")
    model.will_answer("m", limited, page)
    first, second = ask(model), ask(model)
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert first.json()["error"]["message"] == "Slow down"
    assert (second.status_code, second.text) == (502, "<html>Bad gateway</html>")


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_is_cut(model, stream):
    model.will_answer("m", Reply(text="never whole " * 20, cut=True), "whole")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(model, stream=stream)
    assert text(ask(model)) == "whole"


def test_a_reply_may_keep_one_waiting(model):
    model.will_answer("m", Reply(text="late", delay_s=30))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{model.url}/chat/completions", json=body, timeout=0.2)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"model": "unknown", "messages": [{"content": "x"}]}, 404, id="model"),
        pytest.param({"model": "m"}, 400, id="no messages"),
        pytest.param({"messages": []}, 400, id="no model"),
        pytest.param([], 400, id="list"),
        pytest.param("{", 400, id="no JSON"),
    ],
)
def test_a_wrong_request_is_refused(model, body, status):
    sent = body if isinstance(body, str) else json.dumps(body)
    reply = httpx.post(f"{model.url}/chat/completions", content=sent)
    assert (reply.status_code, "message" in reply.json()["error"]) == (status, True)


CHAT = {"messages": [{"role": "user", "content": "Mend it"}]}
PATHS = [
    pytest.param("/v1/chat/completions", CHAT, id="chat"),
    pytest.param("/v1/responses", {"input": "Mend it"}, id="responses"),
    pytest.param("/v1/messages", CHAT, id="messages"),
    pytest.param(
        "/v1beta/models/m:{verb}", {"contents": [{"parts": [{"text": "Mend it"}]}]}, id="gemini"
    ),
]


def post(
    model: ScriptedModel, path: str, body: dict[str, Any], *, stream: bool = False, header: str = ""
) -> httpx.Response:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    asked = body if "contents" in body else {"model": "m", "stream": stream, **body}
    url = model.url.removesuffix("/v1") + path.format(verb=verb)
    return httpx.post(url, json=asked, headers={header: "mine"} if header else {})


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_every_api_answers_from_the_same_script(model, path, body):
    model.will_answer("m", Reply("It is mended, all of it. " * 4, cached=1), "again")
    whole, streamed = post(model, path, body), post(model, path, body, stream=True)
    assert "It is mended" in whole.text
    assert "again" in streamed.text
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert [(call.prompt, call.stream) for call in model.calls] == [
        ("Mend it", False),
        ("Mend it", True),
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), PATHS)
def test_every_api_calls_a_tool(model, path, body, stream):
    model.will_answer("m", Reply(tool="shell", arguments={"command": "make lint"}))
    text = post(model, path, body, stream=stream).text
    assert "shell" in text
    assert "make lint" in text


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_every_api_fails_in_its_own_words(model, path, body):
    model.will_answer("m", Reply("Slow down", status=429))
    answer = post(model, path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"]) == (429, "Slow down")
    words = {"rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"}
    assert words & {str(one) for one in error.values()}


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key"])
def test_the_callers_key_is_seen_wherever_it_stands(model, header):
    model.will_answer("m", "ok")
    post(model, "/v1/messages", CHAT, header=header)
    assert model.calls[0].authorization == "mine"
