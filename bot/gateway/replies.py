"""Reads what a chat endpoint answered: a completion, or the one way in which it failed.

The status code is the first witness. The words of the error come second, and only where one status
stands for several things: a 429 is a short limit or a spent quota, a 400 a prompt that is too
long or a key that is wrong. Words are searched in the error's own fields, never in an answer.
Error shapes: https://platform.openai.com/docs/guides/error-codes,
https://ai.google.dev/gemini-api/docs/troubleshooting, https://docs.claude.com/en/api/errors,
https://openrouter.ai/docs/api-reference/errors
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from bot.domain.answers import Ending
from bot.domain.chat import Completion, Failed

_SHOWN = 300  # characters of an endpoint's own words in a detail
_MOST_TOKENS = 10**12  # a larger count is nonsense


@dataclass(frozen=True, slots=True)
class Rule:
    """Statuses and words that mean one ending; the first rule that fits decides."""

    statuses: range
    words: re.Pattern[str] | None
    ending: Ending


def _rule(first: int, last: int, words: str, ending: Ending) -> Rule:
    pattern = re.compile(words, re.IGNORECASE) if words else None
    return Rule(range(first, last + 1), pattern, ending)


_CONTEXT = (
    r"context_length|context length|context window|prompt is too long|input token count|"
    r"too many tokens|maximum number of tokens|range of input length"
)
_SPENT = (
    r"insufficient_quota|insufficient_credits|quota|billing|credit balance|usage.limit|credits|"
    r"exhausted your capacity|out of credit|arrearage|insufficient balance"
)
RULES = (
    _rule(400, 422, _CONTEXT, Ending.CONTEXT_EXCEEDED),
    _rule(413, 413, "", Ending.CONTEXT_EXCEEDED),
    _rule(401, 401, "", Ending.AUTH),
    _rule(402, 402, "", Ending.USAGE_LIMIT),
    _rule(429, 429, r"per[_ ]?min", Ending.RATE_LIMITED),
    _rule(429, 429, _SPENT, Ending.USAGE_LIMIT),
    _rule(429, 429, "", Ending.RATE_LIMITED),
    _rule(403, 403, r"moderation|content.?polic|flagged", Ending.REFUSED),
    _rule(403, 403, r"insufficient_quota|credit balance|billing", Ending.USAGE_LIMIT),
    _rule(403, 403, "", Ending.AUTH),
    _rule(400, 400, r"api.?key|invalid_authentication", Ending.AUTH),
    _rule(400, 400, r"credit balance|usage limits?|billing|arrearage", Ending.USAGE_LIMIT),
    _rule(400, 400, r"content.?polic|content.?filter|safety|inspection_failed", Ending.REFUSED),
    _rule(400, 400, r"model_not_found|model .{0,80}does not exist", Ending.NOT_FOUND),
    _rule(404, 404, "", Ending.NOT_FOUND),
    _rule(408, 408, "", Ending.TIMEOUT),
    _rule(504, 504, "", Ending.TIMEOUT),
    _rule(500, 599, "", Ending.UNAVAILABLE),
)


# The statuses that vendors mean by the names of errors inside a reply of 200.
_STATUSES: Mapping[str, int] = {
    "authentication_error": 401,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "timeout_error": 504,
    "usage_limit_reached": 429,
}
_SPENT_HEADER = "anthropic-ratelimit-unified-status"  # a subscription's window is used up


def read(status: int, headers: Mapping[str, str], body: bytes) -> Completion | Failed:
    """Return the completion in a reply, or why there is none; *headers* ignore case."""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Failed(Ending.INVALID, f"the endpoint redirects ({status}); check base_url")
    try:
        reply = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        reply = None
    if status >= HTTPStatus.BAD_REQUEST:
        return _error(status, headers, reply)
    if not isinstance(reply, dict | list):
        return Failed(Ending.INVALID, _not_json(body))
    if fault := _fault(reply):
        return _error(_inner_status(fault), headers, reply)
    return _completion(reply)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> Failed:
    """Return what a reply with an error's status means; *headers* ignore case."""
    try:
        reply = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        reply = None
    return _error(status, headers, reply)


def told(error: Any) -> Failed:
    """Return what an error inside a reply or a stream of status 200 means."""
    reply = {"error": error}
    return _error(_inner_status(_fault(reply)), {}, reply)


def _not_json(body: bytes) -> str:
    if not body.strip():
        return "the endpoint's reply is empty"
    if body.lstrip()[:1] == b"<":
        return "the endpoint answered with a web page instead of JSON; check base_url"
    return "the endpoint's reply is no JSON; check base_url"


def _inner_status(fault: Mapping[str, Any]) -> int:
    """Return the status that an error with status 200 stands for, as OpenRouter sends them."""
    code = fault.get("code")
    if isinstance(code, int) and HTTPStatus.BAD_REQUEST <= code < 600:  # noqa: PLR2004  # HTTP's own bound
        return code
    names = (code, fault.get("type"))
    known = (_STATUSES[name] for name in names if isinstance(name, str) and name in _STATUSES)
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)


def _fault(reply: Any) -> dict[str, Any]:
    """Return the error object of a reply, {} when there is none; Gemini wraps it in a list."""
    if isinstance(reply, list) and reply:
        reply = reply[0]
    if not isinstance(reply, dict):
        return {}
    fault = reply.get("error")
    if isinstance(fault, str):
        return {"message": fault}
    if isinstance(fault, dict):
        return fault
    # DashScope's own shape puts both at the top.
    return reply if "code" in reply and "message" in reply else {}


def _error(status: int, headers: Mapping[str, str], reply: Any) -> Failed:
    fault = _fault(reply)
    words = msgspec.json.encode(fault).decode() if fault else ""
    message = fault.get("message")
    said = " ".join(message.split())[:_SHOWN] if isinstance(message, str) else ""
    detail = f"the endpoint answered {status}" + (f": {said}" if said else "")
    ending = next((rule.ending for rule in RULES if _fits(rule, status, words)), Ending.INVALID)
    if ending is Ending.RATE_LIMITED and headers.get(_SPENT_HEADER) == "rejected":
        ending = Ending.USAGE_LIMIT
    return Failed(ending, detail, _retry_after(headers, words))


def _fits(rule: Rule, status: int, words: str) -> bool:
    return status in rule.statuses and (rule.words is None or bool(rule.words.search(words)))


def _retry_after(headers: Mapping[str, str], words: str) -> float | None:
    """Return the seconds that the endpoint asks us to wait, from its headers or its words."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    if value:
        return _until(value, headers.get("date", ""))
    if delay := re.search(r'"retryDelay":\s*"(\d{1,9}(?:\.\d+)?)s"', words):
        return float(delay[1])
    if delay := re.search(r'"resets_in_seconds":\s*(\d{1,9})', words):
        return float(delay[1])
    return None


def _until(value: str, date: str) -> float | None:
    """Return the seconds from the reply's own date to *value*, so that no clock is needed."""
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (OverflowError, TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())


def _completion(reply: Any) -> Completion | Failed:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Failed(Ending.INVALID, "the endpoint's reply holds no message; check base_url")
    spent_in, spent_out = _tokens(reply)
    reason, text = choice.get("finish_reason"), _text(message.get("content"))
    failed: tuple[Ending, str] | None = None
    if reason in {"content_filter", "refusal"} or message.get("refusal"):
        said = _text(message.get("refusal"))[:_SHOWN]
        failed = Ending.REFUSED, f"the model refused{': ' + said if said else ''}"
    elif reason == "length":
        failed = Ending.INVALID, "the answer was cut off at the model's length limit"
    elif not text.strip():
        failed = Ending.INVALID, "the model's answer is empty"
    if failed is not None:
        return Failed(*failed, input_tokens=spent_in, output_tokens=spent_out)
    return Completion(text, spent_in, spent_out)


def _text(content: Any) -> str:
    """Return a message's text; some endpoints send a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(part for part in parts if isinstance(part, str))


def _tokens(reply: dict[str, Any]) -> tuple[int, int]:
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value <= _MOST_TOKENS else 0
