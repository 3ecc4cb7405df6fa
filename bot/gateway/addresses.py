"""Takes addresses out of what an agent says to a model.

A vendor fetches the address of an image or a file by itself. That would be a way out for what the
sandbox holds, in the address itself, and a way in for whatever lies there. An agent has no network,
so what it shows a model stands in the request, as a `data:` address or as bytes.
Shapes: https://platform.openai.com/docs/guides/images-vision,
https://docs.claude.com/en/docs/build-with-claude/vision, https://ai.google.dev/api/caching#FileData
"""

from collections.abc import Mapping
from typing import Any

from bot.gateway.apis import Dialect

FIELDS = ("contents", "input", "messages", "system", "systemInstruction", "system_instruction")
WORDS = "(An address stood here. Nothing is fetched: show what it leads to.)"

ESCAPE = rb"\u00"  # how the escape of a plain letter begins
_KEYS = ("image_url", "video_url", "audio_url", "file_url", "fileUri", "file_uri")
_INNER = ("url", "file_url", "file_data", "fileUri", "file_uri")
_OUTER = (*_KEYS, "file", "fileData", "file_data", "source")
# How the names end. Any letter may be written as an escape; then one has to look.
_NAMED = (b'url"', b'uri"', b'Uri"', b'file_data"', ESCAPE)
_ARGUMENTS = frozenset({"args", "arguments"})  # a tool's own affair
_REPLACED: Mapping[Dialect, Mapping[str, str]] = {
    Dialect.CHAT: {"type": "text"},
    Dialect.RESPONSES: {"type": "input_text"},
    Dialect.MESSAGES: {"type": "text"},
    Dialect.GENERATE: {},
}


def may_name(raw: bytes) -> bool:
    """Tell whether there may be an address in *raw*, so that it is worth a look."""
    return any(end in raw for end in _NAMED)


def without(value: Any, dialect: Dialect) -> Any:
    """Return a conversation, or a part of one, with words in the place of every address."""
    if isinstance(value, list):
        return [without(one, dialect) for one in value]
    if not isinstance(value, dict):
        return value
    if _leads_away(value):
        return {**_REPLACED[dialect], "text": WORDS}
    own = {"input"} if value.get("type") == "tool_use" else _ARGUMENTS
    return {key: one if key in own else without(one, dialect) for key, one in value.items()}


def _leads_away(part: Mapping[str, Any]) -> bool:
    for key in _OUTER:
        one = part.get(key)
        if isinstance(one, dict):
            if any(_is_address(one.get(inner)) for inner in _INNER):
                return True
        elif key in _KEYS and _is_address(one):
            return True
    return False


def _is_address(value: Any) -> bool:
    """Tell whether a value is an address; bytes in base64 are none, and have no colon."""
    return isinstance(value, str) and not value.startswith("data:") and ":" in value
