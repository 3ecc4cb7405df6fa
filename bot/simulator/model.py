"""A scripted model behind the APIs of OpenAI, Anthropic and Gemini, for the demo and for scenes.

A script says, for a model and a key, which replies come, in order; the last one is repeated. The
key is a text that the prompt carries, such as `owner/name#7`, so that scenes which share a server
do not take each other's replies; the empty key answers every prompt that no other one fits. Nothing
here understands a prompt, and the demo says so on its screen. How each API writes it is in
`dialects`.
"""

import asyncio
import itertools
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.simulator import dialects
from bot.simulator.dialects import Dialect, Said
from bot.simulator.loopback import served

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model.

    With a `status` other than 200 it is an error, whose `body` is sent as it stands when there is
    one. With a `tool` it is a call of that tool. `cached` says how many tokens of the prompt were
    cached. `delay_s` comes before anything is sent; `cut` breaks the connection half-way through.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    delay_s: float = 0.0
    cut: bool = False
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came, and the key that it was answered by.

    `authorization` is the header with the caller's key, whichever the API has for it.
    """

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

    def answer(self, call: Call) -> Reply | None:
        """Record a call and return its reply, None when the script has none for it."""
        model, prompt = call.model, call.prompt
        with self._lock:
            fitting = [key for name, key in self._replies if name == model and _has(prompt, key)]
            key = max(fitting, key=len, default="")
            self._calls.append(replace(call, key=key))
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
    """Serve the paths of all APIs from *script*, and `/v1/models`."""
    numbers = itertools.count(1)

    def serving(dialect: Dialect, verb: str = "") -> Callable[[Request], Awaitable[Response]]:
        async def complete(request: Request) -> Response:
            call = await _call(request, dialect, verb)
            reply = script.answer(call)
            if reply is None:
                message = f"The model `{call.model}` does not exist"
                return JSONResponse(dialect.error(404, message), 404)
            if reply.delay_s:
                await asyncio.sleep(reply.delay_s)
            if reply.status != 200:  # noqa: PLR2004  # HTTP's own number
                return _failure(reply, dialect)
            return _completion(_said(str(next(numbers)), call, reply), call, reply, dialect)

        return complete

    async def models(_request: Request) -> Response:
        data = [{"id": name, "object": "model", "owned_by": "script"} for name in script.models]
        return JSONResponse({"object": "list", "data": data})

    async def count(request: Request) -> Response:
        asked = _tokens((await request.body()).decode(errors="replace"))
        return JSONResponse({"input_tokens": asked, "totalTokens": asked})

    async def refuse(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        made = dialects.CHAT.error(error.status_code, error.detail)
        return JSONResponse(made, error.status_code)

    gemini = "/v1beta/models/{model}:"
    stream = "streamGenerateContent"
    paths = {
        "/v1/chat/completions": serving(dialects.CHAT),
        "/v1/responses": serving(dialects.RESPONSES),
        "/v1/messages": serving(dialects.MESSAGES),
        "/v1/messages/count_tokens": count,
        gemini + "generateContent": serving(dialects.GENERATE, "generateContent"),
        gemini + stream: serving(dialects.GENERATE, stream),
        gemini + "countTokens": count,
    }
    return Starlette(
        routes=[
            *(Route(path, serve, methods=["POST"]) for path, serve in paths.items()),
            Route("/v1/models", models),
        ],
        exception_handlers={HTTPException: refuse},
    )


async def _call(request: Request, dialect: Dialect, verb: str) -> Call:
    """Return what was asked, or refuse it as the API would."""
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, "We could not parse the JSON body of your request.") from error
    model = request.path_params.get("model") or (isinstance(body, dict) and body.get("model"))
    if not isinstance(body, dict) or not isinstance(model, str):
        raise HTTPException(400, "you must provide a model parameter")
    if fault := dialect.fault(body):
        raise HTTPException(400, fault)
    named = ("authorization", "x-api-key", "x-goog-api-key")
    authorization = next((one for name in named if (one := request.headers.get(name))), "")
    stream = verb.startswith("stream") or bool(body.get("stream"))
    return Call(model, "", dialect.prompt(body), stream, authorization, body)


def _said(name: str, call: Call, reply: Reply) -> Said:
    asked, told = _tokens(call.prompt), _tokens(reply.text + reply.tool)
    options = call.body.get("stream_options")
    return Said(
        name,
        call.model,
        reply.text,
        reply.tool,
        reply.arguments,
        asked=asked,
        cached=min(asked, reply.cached),
        told=told,
        usage_asked=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _tokens(text: str) -> int:
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def _has(prompt: str, key: str) -> bool:
    """Tell whether *prompt* names *key* as a whole: `o/r#1` does not stand in `o/r#12`."""
    return re.search(re.escape(key) + r"(?!\w)", prompt) is not None if key else True


def _completion(said: Said, call: Call, reply: Reply, dialect: Dialect) -> Response:
    if call.stream:
        pieces = _stream(said, dialect, cut=reply.cut)
        return StreamingResponse(pieces, media_type="text/event-stream", headers=reply.headers)
    whole = dialect.whole(said)
    if not reply.cut:
        return JSONResponse(whole, headers=reply.headers)
    body = json.dumps(whole).encode()
    headers = {**reply.headers, "Content-Length": str(len(body))}
    return StreamingResponse(_broken(body), media_type="application/json", headers=headers)


async def _broken(body: bytes) -> AsyncIterator[bytes]:
    """Send half of *body*, then drop the connection."""
    yield body[: len(body) // 2]
    raise _Cut("cut by the script")


async def _stream(said: Said, dialect: Dialect, *, cut: bool) -> AsyncIterator[bytes]:
    """Send the events; half of them and then nothing when it is to be cut."""
    events = [dialects.encoded(name, data) for name, data in dialect.events(said)]
    for event in events[: (len(events) + 1) // 2] if cut else events:
        yield event
    if cut:
        raise _Cut("cut by the script")


def _failure(reply: Reply, dialect: Dialect) -> Response:
    if reply.body:
        kind = "application/json" if reply.body.lstrip().startswith("{") else "text/html"
        return Response(reply.body, reply.status, headers=reply.headers, media_type=kind)
    error = dialect.error(reply.status, reply.text or "The script says so")
    return JSONResponse(error, reply.status, headers=reply.headers)
