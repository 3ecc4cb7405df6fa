"""What a reply tells about itself: the tokens that it used, and an error inside a reply of 200.

Streams are watched as they pass. Only events that can matter are decoded, found by one search over
the bytes: inside a JSON text every quote is escaped, so what a model writes is never taken for the
API's own words. Vendors tell tokens as running totals, so a later word replaces an earlier one:
Anthropic's first event knows the input and its last the output; OpenAI tells at the end; Gemini
with every chunk.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from bot.domain.chat import Failed
from bot.domain.models import Tokens
from bot.gateway import replies
from bot.gateway.asked import BYTES_PER_TOKEN

_MOST_TOKENS = 10**9  # a larger count is nonsense
_TELLING = re.compile(rb'"(?:usage|usageMetadata|error)"\s*:\s*\{|"type"\s*:\s*"error"')
_WRITES = b'"delta"'  # stands in every event that brings a piece of an answer
_NOTHING: Mapping[str, Any] = {}


class _Told(msgspec.Struct):
    """The fields of a reply or an event that tell something."""

    type: Any = None
    usage: Any = None
    usageMetadata: Any = None  # noqa: N815  # the vendor's name
    error: Any = None
    message: Any = None
    response: Any = None
    candidates: Any = None
    code: Any = None


class Meter:
    """Watches one reply.

    `failure` is the error that it told of; `complete` says whether it told its tokens, so far, and
    `finished` whether it said its last word.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.complete = False
        self.finished = False
        self.failure: Failed | None = None
        self._usage: dict[str, Any] = {}
        self._begun = False  # to write, before any error

    def watch(self, events: bytes) -> None:
        """Take in whole events of a stream."""
        self.bytes += len(events)
        end = 0
        for hit in _TELLING.finditer(events):
            if hit.start() < end:
                continue  # the same line
            end = events.find(b"\n", hit.start())
            end = len(events) if end < 0 else end
            start = events.rfind(b"\n", 0, hit.start()) + 1
            line = events[start:end]
            well = self.failure is None
            for told in _decoded(line.removeprefix(b"data:")):
                self._take(told)
            if well and self.failure is not None:
                self._begun = self._begun or events.find(_WRITES, 0, start) >= 0
        if self.failure is None:
            self._begun = self._begun or _WRITES in events

    def read(self, body: bytes) -> bool:
        """Take in a whole reply; tell whether it is a JSON object (or a list of them)."""
        self.bytes = len(body)
        parts = _decoded(body)
        for part in parts:
            self._take(part)
        return bool(parts)

    def tokens(self, estimate: Tokens) -> Tokens:
        """Return the tokens that were used: as told, else by what was seen, else the *estimate*.

        What was written takes more bytes to send than a token has. An error without a word of
        tokens is free, unless the model had begun to write.
        """
        if self.complete:
            return _tokens(self._usage)
        if not self._usage and self.failure is not None and not self._begun:
            return Tokens()
        if not self.bytes:
            return estimate
        told = _tokens(self._usage) if self._usage else Tokens(estimate.input)
        written = min(estimate.output, self.bytes // BYTES_PER_TOKEN)
        return msgspec.structs.replace(told, output=max(told.output, written))

    def _take(self, told: _Told) -> None:
        inner = next((one for one in (told.message, told.response) if isinstance(one, dict)), {})
        usage = told.usage or told.usageMetadata or inner.get("usage")
        if isinstance(usage, dict):
            self._usage |= {key: one for key, one in usage.items() if one is not None}
            self.complete = self.complete or told.message is None
            self.finished = self.complete and _last(told.candidates)
        error = told.error or inner.get("error")
        if self.failure is None and (error or told.type == "error"):
            self.failure = replies.told(error or {"code": told.code, "message": told.message})


def _decoded(data: bytes) -> list[_Told]:
    """Return the JSON object in *data*, or those of a list, which is how Gemini may stream."""
    with suppress(ValueError, RecursionError):
        return [msgspec.json.decode(data, type=_Told)]
    with suppress(ValueError, RecursionError):
        return msgspec.json.decode(data, type=list[_Told])
    return []


def _last(candidates: Any) -> bool:
    """Tell whether tokens that came with these are the last: Gemini tells them all the while."""
    if not isinstance(candidates, list):
        return True
    return any(isinstance(one, dict) and one.get("finishReason") for one in candidates)


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    """Return the counts, whichever vendor's names they have."""
    if "promptTokenCount" in usage or "candidatesTokenCount" in usage:
        return Tokens(
            _sum(usage, "promptTokenCount", "toolUsePromptTokenCount"),
            _sum(usage, "candidatesTokenCount", "thoughtsTokenCount"),
            _sum(usage, "cachedContentTokenCount"),
        )
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        cached = _sum(_part(usage, "prompt_tokens_details"), "cached_tokens")
        return Tokens(_sum(usage, "prompt_tokens"), _sum(usage, "completion_tokens"), cached)
    written = _sum(usage, "cache_creation_input_tokens")
    cached = _sum(usage, "cache_read_input_tokens")
    output = _sum(usage, "output_tokens")
    if "input_tokens_details" in usage:  # OpenAI counts the cached ones among the input
        cached = _sum(_part(usage, "input_tokens_details"), "cached_tokens")
        return Tokens(_sum(usage, "input_tokens"), output, cached)
    return Tokens(_sum(usage, "input_tokens") + cached + written, output, cached, written)


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = usage.get(name)
    return part if isinstance(part, dict) else _NOTHING


def _sum(usage: Mapping[str, Any], *names: str) -> int:
    counts = (usage.get(name) for name in names)
    return sum(one for one in counts if isinstance(one, int) and 0 <= one <= _MOST_TOKENS)
