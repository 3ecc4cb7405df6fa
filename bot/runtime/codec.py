"""Values to JSON text and back at step boundaries.

The engine stores what steps return. Text of ours outlives a renamed module, which a pickle would
not, and a person can read it in the database.
"""

from typing import Any

import msgspec


def dump(value: Any) -> str:
    """Return *value* as JSON text."""
    return msgspec.json.encode(value).decode()


def load(text: str, kind: Any) -> Any:
    """Return the value of type *kind* (a Struct or a union of them) from text of `dump`."""
    return msgspec.json.decode(text, type=kind)
