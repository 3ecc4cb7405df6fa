"""Take secrets out of what leaves the process: those we know, and what looks like one."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from bot.domain.leaks import Known
from bot.domain.leaks import redact as without_formats
from bot.domain.values import Secret

HIDDEN = "***"
SHAPES = re.compile(
    r"gh[a-z]_[A-Za-z0-9._-]{20,}"  # GitHub's tokens; installation tokens may have 520 characters
    r"|github_pat_[A-Za-z0-9_]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # a JSON Web Token
    r"|sk-[A-Za-z0-9_-]{16,}"  # keys of model providers
    r"|AIza[A-Za-z0-9_-]{30,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"
    r"|A(?:KIA|SIA)[A-Z0-9]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
IN_CONTEXT = re.compile(
    r"(?P<before>\b(?:authorization|x-api-key)['\"]?\s*[:=]\s*['\"]?(?:bearer |token |basic )?"
    r"|\bbearer\s+|[a-z+]+://[^/\s:@]*:)(?P<secret>[^\s'\"@/,}]{6,})",
    re.IGNORECASE,
)

Redact = Callable[[Any], Any]


def redactor(secrets: Sequence[Secret] = ()) -> Redact:
    """Return a function that gives back its argument without secrets, however deep they lie."""
    known = Known(secrets)

    def clean(text: str) -> str:
        text = SHAPES.sub(HIDDEN, known.hidden(text, HIDDEN))
        return without_formats(IN_CONTEXT.sub(rf"\g<before>{HIDDEN}", text))

    def redact(value: Any) -> Any:
        match value:
            case str():
                return clean(value)
            case bytes():
                return clean(value.decode(errors="replace"))
            case dict():
                return {redact(key): redact(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [redact(item) for item in value]
            case None | bool() | int() | float():
                return value
            case _:
                return clean(str(value))

    return redact
