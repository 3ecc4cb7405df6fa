"""Cuts a stream into whole events, so that none goes out half.

An agent can do nothing with half an event, and a stream that breaks off can then be ended properly:
by an event of ours. It is also what lets a secret be found that arrives in two pieces.
"""

from bot.domain.values import Secret

_ENDS = (b"\n\n", b"\n\r\n")  # both ways to write an empty line
HIDDEN = b"***"
SHORTEST = 8  # characters; a shorter key, a dummy of a local server, is a word like any other


class Events:
    """Gathers bytes and gives out whole events, with *key* made unreadable in them."""

    def __init__(self, key: Secret | None) -> None:
        self._key = key.reveal().encode() if key is not None else b""
        self._kept = bytearray()

    @property
    def kept(self) -> int:
        """How many bytes wait for the end of their event."""
        return len(self._kept)

    def cut(self, chunk: bytes) -> bytes:
        """Take in *chunk* and return the events that are whole by now."""
        if not self._kept and chunk.endswith(_ENDS):
            return self._without_key(chunk)
        seen = max(0, len(self._kept) - 2)  # an end may lie across the border
        self._kept += chunk
        ends = [(self._kept.rfind(end, seen), len(end)) for end in _ENDS]
        whole = max(at + length if at >= 0 else 0 for at, length in ends)
        events = bytes(self._kept[:whole])
        del self._kept[:whole]
        return self._without_key(events)

    def rest(self) -> bytes:
        """Return what came after the last whole event; some servers spare the last empty line."""
        rest = bytes(self._kept)
        self._kept.clear()
        return self._without_key(rest)

    def _without_key(self, data: bytes) -> bytes:
        return hidden(data, self._key)


def hidden(data: bytes, key: bytes) -> bytes:
    """Return *data* without *key*: some vendors repeat it in their errors."""
    return data.replace(key, HIDDEN) if len(key) >= SHORTEST else data


def unspoken(text: str, key: Secret | None) -> str:
    """Return *text* without *key*."""
    return text if key is None else hidden(text.encode(), key.reveal().encode()).decode()
