"""`POST /api/meta/v3/classify-failure`: what a log tells of, for other systems.

The shapes of question and answer are those of Meta-Builder v3. Served only with a token.
"""

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.domain.ports import Clock
from bot.domain.values import FailureType, Secret, Signal
from bot.failures.classify import classify_all
from bot.failures.taxonomy import requires_replan

PATH = "/api/meta/v3/classify-failure"
MAX_BODY = 25 << 20  # bytes


class Question(msgspec.Struct, frozen=True):
    """What is asked; `logs` are one text or several, `previous_signals` are earlier answers."""

    step_name: str = ""
    logs: str | list[str] = ""
    artifacts: Any = None
    previous_signals: list[dict[str, Any]] = []


def routes(token: Secret | None, clock: Clock) -> Sequence[Route]:
    """Return the route, or none without a *token* that callers must bear."""
    if token is None:
        return ()
    expected = f"Bearer {token.reveal()}".encode()

    async def classify(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, expected):
            return _refused(401, "send the API token as: Authorization: Bearer TOKEN")
        body = await _body(request)
        if body is None:
            return _refused(413, f"the body is larger than {MAX_BODY >> 20} MB")
        try:
            question = msgspec.json.decode(body, type=Question)
            known = [FailureType(one.get("type", "")) for one in question.previous_signals]
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            return _refused(400, f"the body does not fit: {error}")
        logs = question.logs if isinstance(question.logs, str) else "\n".join(question.logs)
        signals = await asyncio.to_thread(classify_all, logs, step=question.step_name)
        return JSONResponse({"failure_signal": _told(signals, known, question.step_name, clock)})

    return (Route(PATH, classify, methods=["POST"]),)


async def _body(request: Request) -> bytes | None:
    """Return the body, or None when it is too large; what is too much is not read."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            return None
    return bytes(received)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)


def _told(
    signals: tuple[Signal, ...], known: Sequence[FailureType], step: str, clock: Clock
) -> dict[str, Any]:
    root = signals[0]
    earlier = [msgspec.structs.replace(root, type=kind) for kind in known]
    return {
        "type": root.type,
        "source": step,
        "message": root.message,
        "evidence": [msgspec.to_builtins(one) for one in root.evidence],
        "severity": root.severity,
        "can_retry": root.can_retry,
        "requires_replan": requires_replan([*earlier, root]),
        "created_at": clock.now().isoformat(),
        "metadata": {
            "confidence": root.confidence,
            "tool": root.tool,
            "rule": root.rule,
            "fingerprint": root.fingerprint,
            "retry_after_s": root.retry_after_s,
            "locations": [msgspec.to_builtins(place) for place in root.locations],
            "others": [
                {"type": one.type, "confidence": one.confidence, "rule": one.rule}
                for one in signals[1:]
            ],
        },
    }
