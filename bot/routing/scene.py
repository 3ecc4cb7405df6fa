"""What is true when a lane is chosen."""

from datetime import datetime

import msgspec

from bot.domain.health import Health, Standing
from bot.domain.values import Value

NOTHING = Health()  # what is known of a lane that was never used


class Scene(Value, frozen=True):
    """What a choice depends on, besides the lanes and the settings.

    `healths` holds what is known, by lane; `tried` the lanes that failed with this task already;
    `wanted` the backend that a person asked for; `kinds` what kinds of task this is, the closest
    first.
    """

    now: datetime
    healths: dict[str, Health] = msgspec.field(default_factory=dict)
    standing: Standing = Standing()
    repo: str = ""
    number: int = 0
    kinds: tuple[str, ...] = ()
    wanted: str = ""
    tried: tuple[str, ...] = ()

    def health(self, key: str) -> Health:
        """Return what is known of a lane."""
        return self.healths.get(key, NOTHING)
