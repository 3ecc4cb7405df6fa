"""What was refused at the door is an audit event: each kind once an hour.

Anybody may knock, as often as they like: were each knock kept, a stranger could fill the database
by what it is not let do. The metrics count them all.
"""

import asyncio
from collections.abc import Mapping

import structlog

from bot.domain.errors import BotError
from bot.domain.ports import Audit, Clock

log = structlog.get_logger("regreen")


class Refusals:
    """Writes refusals into the audit trail; use it from one event loop."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._noted: dict[str, str] = {}  # key: the hour that it was last noted in

    async def note(self, kind: str, subject: str, outcome: str, detail: Mapping[str, str]) -> None:
        """Note a refusal of *kind* with this *outcome*, unless this hour has one already.

        *kind*, *subject* and *outcome* are words of ours: what a stranger sent belongs in *detail*.
        """
        key = f"{kind}:{subject}:{outcome}"
        hour = f"{self._clock.now():%Y-%m-%dT%H}"
        if self._noted.get(key) == hour:
            return
        self._noted[key] = hour
        told = {"outcome": outcome, **{name: text[:200] for name, text in detail.items()}}
        try:
            await asyncio.to_thread(self._audit.append, f"{key}:{hour}", kind, subject, told)
        except BotError as error:
            log.warning("refusal_not_audited", kind=kind, reason=str(error))
