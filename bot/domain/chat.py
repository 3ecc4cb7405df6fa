"""What a backend says to a model's chat endpoint, and what comes back."""

from pathlib import Path

from bot.domain.answers import Ending
from bot.domain.values import Secret, Value


class Message(Value, frozen=True):
    """One message of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


class Endpoint(Value, frozen=True):
    """An OpenAI-compatible API: where it is, its key, and how patient to be with it.

    `socket` is the gateway's, when the call goes through it; `base_url` then names no host that is
    looked up. `max_retries` counts for outages; `usage_limit_retries` for limits, after
    `usage_limit_wait_s` unless the endpoint itself names a time.
    """

    base_url: str
    key: Secret | None = None
    max_retries: int = 2
    usage_limit_retries: int = 0
    usage_limit_wait_s: float = 0.0
    socket: Path | None = None


class Completion(Value, frozen=True):
    """A model's whole answer and what it cost in tokens."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0


class Failed(Value, frozen=True):
    """A call without a usable answer; tokens may have been spent all the same."""

    ending: Ending
    detail: str
    retry_after_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
