"""What an agent asks of a model: the few fields that matter here, and what the gateway changes.

A request is taken apart at its first level and put together again, so a name that stands twice
means to the vendor what it means here. A chat stream is asked to tell its tokens. What the vendor
itself would do for the agent (search, fetch a page, run code, call a connector, go on in the
background) is left out, and so are addresses that it would fetch: the sandbox has no network, and
through these the agent would have one; nor are they paid for by the token. So are wishes that make
a token dearer than the price that is known.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from bot.domain.models import Tokens
from bot.gateway import addresses
from bot.gateway.apis import Dialect, Match

BYTES_PER_TOKEN = 4  # the customary guess
UNSTATED_OUTPUT = 8_192  # tokens held back for an answer whose length nobody bounds
MOST_OUTPUT = 128_000  # tokens; no model writes more at once, whatever is asked

_HOSTED = (
    "web_search",
    "web_fetch",
    "code_execution",
    "code_interpreter",
    "file_search",
    "image_generation",
    "mcp",
)
_HOSTED_FIELDS = (
    "background",
    "container",
    "mcp_servers",
    "plugins",
    "prompt",  # a template of the account, which may have such tools
    "web_search_options",
)
# What makes tokens dearer: https://platform.openai.com/docs/guides/priority-processing,
# https://docs.claude.com/en/docs/about-claude/pricing (fast mode, one region)
_DEARER = ("inference_geo", "speed")
_USUAL_TIERS = frozenset({"auto", "default", "flex", "standard_only"})
_HOSTED_GEMINI = frozenset(
    {
        "codeexecution",
        "computeruse",
        "enterprisewebsearch",
        "filesearch",
        "googlemaps",
        "googlesearch",
        "googlesearchretrieval",
        "mcpservers",
        "retrieval",
        "urlcontext",
    }
)
_ADDED = (b"additional_tools", addresses.ESCAPE)
_NOTHING = msgspec.Raw(b"null")
_Raw = dict[str, msgspec.Raw]
_T = TypeVar("_T")


class Unreadable(Exception):
    """The request is no JSON object; its text says so to the agent."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is sent on; `estimate` is what it may use at most, as far as one can tell."""

    match: Match
    body: bytes
    model: str
    stream: bool
    estimate: Tokens


def read(match: Match, body: bytes) -> Asked:
    """Return what the request asks for, or raise `Unreadable`."""
    dialect = match.route.dialect
    try:
        fields = msgspec.json.decode(body, type=_Raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the request is not a JSON object") from error
    stream = match.stream or _field(fields, "stream", bool) is True
    if dialect is Dialect.CHAT and stream:
        options = _field(fields, "stream_options", dict[str, Any]) or {}
        fields["stream_options"] = _raw({**options, "include_usage": True})
    try:
        _leave_out_hosted(fields)
        _leave_out_addresses(fields, dialect)
    except (ValueError, RecursionError) as error:
        raise Unreadable("a part of the request is no proper JSON, or nested too deeply") from error
    model = match.model or _field(fields, "model", str) or ""
    sent = msgspec.json.encode(fields)
    estimate = Tokens(-(-len(sent) // BYTES_PER_TOKEN), _output(dialect, fields))
    return Asked(match, sent, model, stream, estimate)


def allowed(model: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether *model* may be asked for."""
    return not patterns or any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns)


def _leave_out_hosted(fields: _Raw) -> None:
    for name in (*_HOSTED_FIELDS, *_DEARER):
        fields.pop(name, None)
    if _field(fields, "service_tier", str) not in _USUAL_TIERS:
        fields.pop("service_tier", None)
    tools = msgspec.json.decode(fields.get("tools", _NOTHING))
    if isinstance(tools, list) and tools:
        own = _own(tools)
        fields["tools"] = _raw(own)  # in any case: a name that stands twice means one thing now
        if not own:
            del fields["tools"]
            fields.pop("tool_choice", None)
    # Codex also sends tools as items of the conversation.
    given = fields.get("input", _NOTHING)
    if any(one in bytes(given) for one in _ADDED):
        items = msgspec.json.decode(given)
        fields["input"] = _raw(_own(items)) if isinstance(items, list) else given


def _leave_out_addresses(fields: _Raw, dialect: Dialect) -> None:
    for name in addresses.FIELDS:
        if addresses.may_name(bytes(fields.get(name, b""))):
            said = msgspec.json.decode(fields[name])
            fields[name] = _raw(addresses.without(said, dialect))


def _own(tools: list[Any]) -> list[Any]:
    """Return what of these tools the agent runs itself; Gemini's are groups with a key for each."""
    return [part for tool in tools if (part := _own_part(tool))]


def _own_part(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    if str(tool.get("type", "")).startswith(_HOSTED):
        return None
    part = {key: one for key, one in tool.items() if not _hosted_key(key)}
    if isinstance(part.get("tools"), list):  # a namespace of tools
        part["tools"] = _own(part["tools"])
    return part


def _hosted_key(key: str) -> bool:
    return key.replace("_", "").lower() in _HOSTED_GEMINI


def _output(dialect: Dialect, fields: _Raw) -> int:
    """Return how many tokens the answer may have."""
    if dialect is Dialect.GENERATE:
        config = _config(fields)
        most, times = config.get("maxOutputTokens"), config.get("candidateCount")
    else:
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        most = max((one for name in names if (one := _field(fields, name, int))), default=None)
        times = _field(fields, "n", int)
    return _bounded(most, UNSTATED_OUTPUT, MOST_OUTPUT) * _bounded(times, 1, 128)


def _config(fields: _Raw) -> Mapping[str, Any]:
    found = _field(fields, "generationConfig", dict[str, Any])
    return found or _field(fields, "generation_config", dict[str, Any]) or {}


def _bounded(value: Any, unstated: int, most: int) -> int:
    return min(value, most) if isinstance(value, int) and value > 0 else unstated


def _field(fields: _Raw, name: str, kind: type[_T]) -> _T | None:
    """Return a field, None when it is missing or of another kind."""
    try:
        return msgspec.json.decode(fields[name], type=kind)
    except (KeyError, ValueError, RecursionError):
        return None


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
