"""How vendors' APIs write the same things: a request, a whole reply, a stream, an error.

One class for each API that agents use. Only what agents read is there; texts come in pieces, tool
calls whole.

Shapes: https://platform.openai.com/docs/api-reference, https://docs.claude.com/en/api/messages,
https://ai.google.dev/api/generate-content
"""

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

CHUNK = 40  # characters of one streamed piece

Made = dict[str, Any]
Events = Iterator[tuple[str, Any]]  # the event's name, empty where the API names none; its data


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says: a text, or a call of a tool; and the tokens that it took.

    `name` is the reply's own, `cached` is a part of `asked`. `usage_asked` tells whether a chat
    stream is to tell its tokens.
    """

    name: str
    model: str
    text: str
    tool: str
    arguments: Mapping[str, Any]
    asked: int
    cached: int
    told: int
    usage_asked: bool

    @property
    def pieces(self) -> Sequence[str]:
        """The text in pieces."""
        return [self.text[at : at + CHUNK] for at in range(0, len(self.text), CHUNK)]

    @property
    def arguments_text(self) -> str:
        """The tool's arguments as JSON."""
        return json.dumps(self.arguments)


class Dialect(Protocol):
    """The way of one API."""

    def fault(self, call: Mapping[str, Any]) -> str: ...
    def prompt(self, call: Mapping[str, Any]) -> str: ...
    def whole(self, said: Said) -> Made: ...
    def events(self, said: Said) -> Events: ...
    def error(self, status: int, message: str) -> Made: ...


class Chat:
    """OpenAI's `/v1/chat/completions`."""

    def fault(self, call: Mapping[str, Any]) -> str:
        return _needs_list(call, "messages")

    def prompt(self, call: Mapping[str, Any]) -> str:
        return _texts(call.get("messages"), "content")

    def whole(self, said: Said) -> Made:
        message: Made = {"role": "assistant", "content": said.text, "refusal": None}
        if said.tool:
            message |= {"content": None, "tool_calls": [self._tool(said)]}
        finish = "tool_calls" if said.tool else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {
            **self._head(said, "chat.completion"),
            "choices": [choice],
            "usage": self._usage(said),
        }

    def events(self, said: Said) -> Events:
        head = self._head(said, "chat.completion.chunk")

        def piece(delta: Made, finish: str | None = None) -> tuple[str, Made]:
            return "", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

        yield piece({"role": "assistant", "content": ""})
        yield from (piece({"content": text}) for text in said.pieces)
        if said.tool:
            yield piece({"tool_calls": [{"index": 0, **self._tool(said)}]})
        yield piece({}, "tool_calls" if said.tool else "stop")
        if said.usage_asked:
            yield "", {**head, "choices": [], "usage": self._usage(said)}
        yield "", "[DONE]"

    def error(self, status: int, message: str) -> Made:
        return _openai_error(status, message)

    def _head(self, said: Said, kind: str) -> Made:
        name = f"chatcmpl-{said.name}"
        return {"id": name, "object": kind, "created": int(time.time()), "model": said.model}

    def _tool(self, said: Said) -> Made:
        function = {"name": said.tool, "arguments": said.arguments_text}
        return {"id": f"call_{said.name}", "type": "function", "function": function}

    def _usage(self, said: Said) -> Made:
        total = said.asked + said.told
        usage: Made = {"prompt_tokens": said.asked, "completion_tokens": said.told}
        details = {"prompt_tokens_details": {"cached_tokens": said.cached}} if said.cached else {}
        return {**usage, "total_tokens": total, **details}


class Responses:
    """OpenAI's `/v1/responses`."""

    def fault(self, call: Mapping[str, Any]) -> str:
        return "" if call.get("input") else "Missing required parameter: 'input'."

    def prompt(self, call: Mapping[str, Any]) -> str:
        given = call.get("input")
        return given if isinstance(given, str) else _texts(given, "content")

    def whole(self, said: Said) -> Made:
        usage = {
            "input_tokens": said.asked,
            "input_tokens_details": {"cached_tokens": said.cached},
            "output_tokens": said.told,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.asked + said.told,
        }
        done = {"status": "completed", "output": [self._item(said)], "usage": usage}
        return {**self._head(said), **done}

    def events(self, said: Said) -> Events:
        item, numbers = self._item(said), itertools.count()

        def event(kind: str, **more: Any) -> tuple[str, Made]:
            return kind, {"type": kind, "sequence_number": next(numbers), **more}

        yield event("response.created", response={**self._head(said), "status": "in_progress"})
        begun = {**item, "status": "in_progress", **({} if said.tool else {"content": []})}
        yield event("response.output_item.added", output_index=0, item=begun)
        at = {"item_id": item["id"], "output_index": 0}
        if said.tool:
            delta, done = "response.function_call_arguments.delta", said.arguments_text
            yield event(delta, **at, delta=done)
            yield event("response.function_call_arguments.done", **at, arguments=done)
        else:
            at["content_index"] = 0
            yield event("response.content_part.added", **at, part=self._part(""))
            for text in said.pieces:
                yield event("response.output_text.delta", **at, delta=text)
            yield event("response.output_text.done", **at, text=said.text)
            yield event("response.content_part.done", **at, part=self._part(said.text))
        yield event("response.output_item.done", output_index=0, item=item)
        yield event("response.completed", response=self.whole(said))

    def error(self, status: int, message: str) -> Made:
        return _openai_error(status, message)

    def _head(self, said: Said) -> Made:
        return {
            "id": f"resp_{said.name}",
            "object": "response",
            "created_at": int(time.time()),
            "model": said.model,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }

    def _item(self, said: Said) -> Made:
        if not said.tool:
            item = {"type": "message", "id": f"msg_{said.name}", "role": "assistant"}
            return {**item, "status": "completed", "content": [self._part(said.text)]}
        return {
            "type": "function_call",
            "id": f"fc_{said.name}",
            "call_id": f"call_{said.name}",
            "name": said.tool,
            "arguments": said.arguments_text,
            "status": "completed",
        }

    def _part(self, text: str) -> Made:
        return {"type": "output_text", "text": text, "annotations": []}


class Messages:
    """Anthropic's `/v1/messages`."""

    def fault(self, call: Mapping[str, Any]) -> str:
        return _needs_list(call, "messages")

    def prompt(self, call: Mapping[str, Any]) -> str:
        return _texts(call.get("messages"), "content")

    def whole(self, said: Said) -> Made:
        return {
            **self._head(said),
            "content": [self._block(said)],
            "stop_reason": "tool_use" if said.tool else "end_turn",
            "usage": self._usage(said, said.told),
        }

    def events(self, said: Said) -> Events:
        def event(kind: str, **more: Any) -> tuple[str, Made]:
            return kind, {"type": kind, **more}

        begun = {**self._head(said), "content": [], "stop_reason": None}
        yield event("message_start", message={**begun, "usage": self._usage(said, 1)})
        empty: Made = {"input": {}} if said.tool else {"text": ""}
        block = {**self._block(said), **empty}
        yield event("content_block_start", index=0, content_block=block)
        if said.tool:
            piece = {"type": "input_json_delta", "partial_json": said.arguments_text}
            yield event("content_block_delta", index=0, delta=piece)
        for text in said.pieces:
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        yield event("content_block_stop", index=0)
        reason = {"stop_reason": "tool_use" if said.tool else "end_turn", "stop_sequence": None}
        yield event("message_delta", delta=reason, usage={"output_tokens": said.told})
        yield event("message_stop")

    def error(self, status: int, message: str) -> Made:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        return {
            "type": "error",
            "error": {"type": kinds.get(status, "api_error"), "message": message},
        }

    def _head(self, said: Said) -> Made:
        head = {"id": f"msg_{said.name}", "type": "message", "role": "assistant"}
        return {**head, "model": said.model, "stop_sequence": None}

    def _block(self, said: Said) -> Made:
        if not said.tool:
            return {"type": "text", "text": said.text}
        tool = {"type": "tool_use", "id": f"toolu_{said.name}", "name": said.tool}
        return {**tool, "input": dict(said.arguments)}

    def _usage(self, said: Said, told: int) -> Made:
        return {
            "input_tokens": said.asked - said.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": said.cached,
            "output_tokens": told,
        }


class Generate:
    """Gemini's `:generateContent` and `:streamGenerateContent`."""

    def fault(self, call: Mapping[str, Any]) -> str:
        return _needs_list(call, "contents")

    def prompt(self, call: Mapping[str, Any]) -> str:
        return _texts(call.get("contents"), "parts")

    def whole(self, said: Said) -> Made:
        call = {"name": said.tool, "args": dict(said.arguments)}
        parts = [{"functionCall": call}] if said.tool else [{"text": said.text}]
        return self._reply(said, parts, said.told, "STOP")

    def events(self, said: Said) -> Events:
        for number, text in enumerate(said.pieces[:-1], 1):
            yield "", self._reply(said, [{"text": text}], min(number, said.told), None)
        last = self.whole(said)
        if said.pieces:
            last["candidates"][0]["content"]["parts"] = [{"text": said.pieces[-1]}]
        yield "", last

    def error(self, status: int, message: str) -> Made:
        kinds = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        kind = kinds.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": kind}}

    def _reply(self, said: Said, parts: list[Made], told: int, finish: str | None) -> Made:
        candidate: Made = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        usage = {
            "promptTokenCount": said.asked,
            "cachedContentTokenCount": said.cached,
            "candidatesTokenCount": told,
            "totalTokenCount": said.asked + told,
        }
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": said.model,
            "responseId": said.name,
        }


CHAT, RESPONSES, MESSAGES, GENERATE = Chat(), Responses(), Messages(), Generate()


def encoded(name: str, data: Any) -> bytes:
    """Return an event as it goes over the wire."""
    text = data if isinstance(data, str) else json.dumps(data)
    return ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()


def _openai_error(status: int, message: str) -> Made:
    codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    code = codes.get(status, "scripted")
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # HTTP's own number
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _needs_list(call: Mapping[str, Any], name: str) -> str:
    given = call.get(name)
    return "" if isinstance(given, list) and given else f"Missing required parameter: '{name}'."


def _texts(messages: Any, inside: str) -> str:
    """Return the text of all messages; a content may be a text or a list of parts."""
    texts = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get(inside) if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            texts.append(text if isinstance(text, str) else "")
    return "\n".join(texts)
