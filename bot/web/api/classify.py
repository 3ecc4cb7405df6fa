"""`POST /api/meta/v3/classify-failure`: what a log tells of, for other systems.

The shapes of question and answer are those of Meta-Builder v3. Served only with a token.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.routing import Route

from bot.domain.ports import Clock
from bot.domain.values import FailureType, Secret, Signal
from bot.failures.classify import classify_all
from bot.failures.taxonomy import requires_replan
from bot.web.api.endpoints import Call, endpoint, read

PATH = "/api/meta/v3/classify-failure"
MAX_BODY = 25 << 20  # bytes


class Earlier(msgspec.Struct, frozen=True):
    """A signal of an earlier answer, of which only the kind counts here."""

    type: FailureType


class Question(msgspec.Struct, frozen=True):
    """What is asked; `logs` are one text or several, `previous_signals` are earlier answers."""

    step_name: str = ""
    logs: str | list[str] = ""
    artifacts: Any = None
    previous_signals: list[Earlier] = []


def routes(token: Secret | None, clock: Clock) -> Sequence[Route]:
    """Return the route, or none without a *token* that callers must bear."""
    if token is None:
        return ()

    async def classify(call: Call) -> object:
        question = read(call.body, Question)
        known = [earlier.type for earlier in question.previous_signals]
        logs = question.logs if isinstance(question.logs, str) else "\n".join(question.logs)
        signals = await asyncio.to_thread(classify_all, logs, step=question.step_name)
        return {"failure_signal": _told(signals, known, question.step_name, clock)}

    return (endpoint(PATH, classify, token=token, method="POST", max_body=MAX_BODY),)


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
