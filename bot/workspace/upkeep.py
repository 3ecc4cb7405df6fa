"""What keeps the data folder small: the rounds of those who have something to tidy there."""

from collections.abc import Callable
from datetime import datetime

import structlog

from bot.domain.errors import BotError

log = structlog.get_logger("regreen")

Round = Callable[[datetime], object]


class Upkeep:
    """Goes through all rounds; each knows itself what is due. Blocking; one call at a time."""

    def __init__(self, *rounds: Round) -> None:
        self._rounds = rounds

    def round(self, now: datetime) -> None:
        """Do what is due; what fails is logged, tried again in the next round, and stops nobody."""
        for one in self._rounds:
            try:
                one(now)
            except (BotError, OSError) as error:
                log.warning("upkeep_failed", round=one.__qualname__, reason=str(error))
