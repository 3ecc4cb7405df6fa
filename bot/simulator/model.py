"""A scripted model behind an OpenAI-compatible chat API, for the demo and for scenes.

A script says, for a model and a key, which replies come, in order; the last one is repeated. The
key is a text that the prompt carries, such as `owner/name#7`, so that scenes which share a server
do not take each other's replies; the empty key answers every prompt that no other one fits. Nothing
here understands a prompt, and the demo says so on its screen.

Shapes: https://platform.openai.com/docs/api-reference/chat
"""

import asyncio
import itertools
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.simulator.loopback import served

_CHUNK = 40  # characters of one streamed piece
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model.

    With a `status` other than 200 it is an error, whose `body` is sent as it stands when there is
    one. `delay_s` comes before anything is sent; `cut` breaks the connection half-way through.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    delay_s: float = 0.0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came, and the key that it was answered by."""

    model: str
    key: str
    prompt: str
    stream: bool
    authorization: str
    body: Mapping[str, Any]


class Script:
    """What each model answers; safe to change and to read from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self._used: dict[tuple[str, str], int] = {}
        self._calls: list[Call] = []

    def will_answer(self, model: str, *replies: Reply | str, key: str = "") -> None:
        """Add *replies* to what *model* answers, one call after another, to prompts with *key*."""
        made = [Reply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        with self._lock:
            self._replies.setdefault((model, key), []).extend(made)

    def answer(self, model: str, call: Mapping[str, Any], authorization: str) -> Reply | None:
        """Record a call and return its reply, None when the script has none for it."""
        prompt = _prompt(call)
        with self._lock:
            fitting = [key for name, key in self._replies if name == model and _has(prompt, key)]
            key = max(fitting, key=len, default="")
            stream = bool(call.get("stream"))
            self._calls.append(Call(model, key, prompt, stream, authorization, call))
            replies = self._replies.get((model, key))
            if not replies:
                return None
            at = self._used.get((model, key), 0)
            self._used[model, key] = at + 1
            return replies[min(at, len(replies) - 1)]

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, oldest first."""
        with self._lock:
            return tuple(self._calls)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that answer something."""
        with self._lock:
            return tuple(sorted({model for model, _ in self._replies}))


class ScriptedModel:
    """A script and the server that plays it; use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.script = Script()
        self.url = ""
        self._port = port
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        server = logging.getLogger("uvicorn.error")
        quiet = _CutsAreMeant()
        server.addFilter(quiet)
        self._stack.callback(server.removeFilter, quiet)
        self.url = self._stack.enter_context(served(model_app(self.script), self._port)) + "/v1"
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def will_answer(self, model: str, *replies: Reply | str, key: str = "") -> None:
        """Add *replies* to the script."""
        self.script.will_answer(model, *replies, key=key)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, oldest first."""
        return self.script.calls


class _Cut(Exception):
    """Raised half-way through a reply, so that the server drops the connection."""


class _CutsAreMeant(logging.Filter):
    """Keeps the server from reporting a cut as a fault of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is None or "_Cut" not in repr(record.exc_info[1])


def model_app(script: Script) -> Starlette:
    """Serve `/v1/chat/completions` and `/v1/models` from *script*."""
    numbers = itertools.count(1)

    async def complete(request: Request) -> Response:
        call = await _body(request)
        model = call["model"]
        reply = script.answer(model, call, request.headers.get("authorization", ""))
        if reply is None:
            return _error(404, f"The model `{model}` does not exist", "model_not_found")
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.status != 200:  # noqa: PLR2004  # HTTP's own number
            return _failure(reply)
        return _completion(f"chatcmpl-{next(numbers)}", call, reply)

    async def models(_request: Request) -> Response:
        data = [{"id": name, "object": "model", "owned_by": "script"} for name in script.models]
        return JSONResponse({"object": "list", "data": data})

    async def refuse(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(error.status_code, error.detail, "invalid_request")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
        ],
        exception_handlers={HTTPException: refuse},
    )


async def _body(request: Request) -> dict[str, Any]:
    try:
        call = await request.json()
    except ValueError as error:
        raise HTTPException(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(call, dict) or not isinstance(call.get("model"), str):
        raise HTTPException(400, "you must provide a model parameter")
    if not isinstance(call.get("messages"), list) or not call["messages"]:
        raise HTTPException(400, "Missing required parameter: 'messages'.")
    return call


def _prompt(call: Mapping[str, Any]) -> str:
    """Return the text of all messages; a content may be a text or a list of parts."""
    texts = []
    for message in call.get("messages", ()):
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            texts.append(text if isinstance(text, str) else "")
    return "\n".join(texts)


def _has(prompt: str, key: str) -> bool:
    """Tell whether *prompt* names *key* as a whole: `o/r#1` does not stand in `o/r#12`."""
    return re.search(re.escape(key) + r"(?!\w)", prompt) is not None if key else True


def _usage(call: Mapping[str, Any], text: str) -> dict[str, int]:
    asked = max(1, len(_prompt(call)) // _CHARACTERS_PER_TOKEN)
    said = max(1, len(text) // _CHARACTERS_PER_TOKEN)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _completion(name: str, call: Mapping[str, Any], reply: Reply) -> Response:
    head = {"id": name, "created": int(time.time()), "model": call["model"]}
    usage = _usage(call, reply.text)
    if call.get("stream"):
        include = bool((call.get("stream_options") or {}).get("include_usage"))
        pieces = _stream(head, reply, usage if include else None)
        return StreamingResponse(pieces, media_type="text/event-stream", headers=reply.headers)
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    if not reply.cut:
        return JSONResponse(whole, headers=reply.headers)
    body = json.dumps(whole).encode()
    headers = {**reply.headers, "Content-Length": str(len(body))}
    return StreamingResponse(_broken(body), media_type="application/json", headers=headers)


async def _broken(body: bytes) -> AsyncIterator[bytes]:
    """Send half of *body*, then drop the connection."""
    yield body[: len(body) // 2]
    raise _Cut("cut by the script")


async def _stream(
    head: Mapping[str, Any], reply: Reply, usage: Mapping[str, int] | None
) -> AsyncIterator[bytes]:
    def event(choices: list[Any], **more: Any) -> bytes:
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(chunk)}\n\n".encode()

    def piece(delta: Mapping[str, str], finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": delta, "finish_reason": finish}])

    yield piece({"role": "assistant", "content": ""})
    text = reply.text[: len(reply.text) // 2] if reply.cut else reply.text
    for at in range(0, len(text), _CHUNK):
        yield piece({"content": text[at : at + _CHUNK]})
    if reply.cut:
        raise _Cut("cut by the script")
    yield piece({}, "stop")
    if usage is not None:
        yield event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _failure(reply: Reply) -> Response:
    if reply.body:
        kind = "application/json" if reply.body.lstrip().startswith("{") else "text/html"
        return Response(reply.body, reply.status, headers=reply.headers, media_type=kind)
    made = _error(reply.status, reply.text or "The script says so", "scripted")
    made.headers.update(reply.headers)
    return made


def _error(status: int, message: str, code: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # HTTP's own number
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status)
