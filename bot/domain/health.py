"""The health of a lane as it is stored: what its newest calls and probes were like.

A lane is a backend with one of its providers. `bot/routing/health.py` says how an observation
changes its health. Moments are UTC.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from bot.domain.answers import Ending
from bot.domain.values import Value


class RestKind(StrEnum):
    """Why a lane rests, which decides for how long."""

    CREDITS = "credits"  # its quota or its money is used up
    BROKEN = "broken"  # it fails, whatever it is given
    SILENT = "silent"  # it began and said nothing


class Observation(Value, frozen=True):
    """How one call of a lane ended, or one probe, which asks without work.

    `response_s` is how long the model took to answer one request, None when nobody measured it: an
    agent's whole call, of many requests, is no measure of it.
    """

    ending: Ending
    response_s: float | None = None
    retry_after_s: float | None = None
    probe: bool = False


class Sample(Value, frozen=True, array_like=True):
    """One call as health remembers it; `failed` means by the lane's fault."""

    at: datetime
    ending: Ending
    failed: bool
    response_s: float | None = None


class Rest(Value, frozen=True):
    """A lane's pause: until it ends no work is given; then one call or probe is its trial.

    `nth` counts the rests in a row, from 0. `asked` tells that the provider itself said until when.
    `trial_at` is when a task was last given to the lane as its trial. `refused` tells that a probe
    was refused the key as well, so that one that goes well shows that the key is mended.
    """

    kind: RestKind
    cause: Ending
    since: datetime
    until: datetime
    nth: int = 0
    asked: bool = False
    trial_at: datetime | None = None
    refused: bool = False


class Health(Value, frozen=True):
    """What is known of a lane. `samples` are its calls, the newest last; probes are not among them.

    `calls`, `failures` and `response_s` (the mean, in seconds) sum the samples up, so that a choice
    needs not count. `probes` holds whether the newest probes went well, `judged` the gatekeeper's
    newest verdicts on the lane's edits.
    `drifting` says what is getting worse, and is empty when nothing is. `back_at` is when its last
    rest ended well.
    """

    samples: tuple[Sample, ...] = ()
    calls: int = 0
    failures: int = 0
    response_s: float | None = None
    consecutive: int = 0
    rest: Rest | None = None
    back_at: datetime | None = None
    drifting: str = ""
    judged: tuple[bool, ...] = ()
    probes: tuple[bool, ...] = ()
    probed_at: datetime | None = None


class Standing(Value, frozen=True):
    """Which lane a chain works with now, since when, and which it had before.

    `proved` tells whether the lane has ended a call well since the switch, `returned` that it was
    come back to; `relapses` counts the returns in a row that did not last. `turn` counts choices.
    """

    lane: str = ""
    since: datetime | None = None
    former: str = ""
    proved: bool = True
    returned: bool = False
    relapses: int = 0
    turn: int = 0


class Known(Value, frozen=True):
    """What is known of some lanes, by their keys, and of the chain that they belong to."""

    healths: dict[str, Health] = msgspec.field(default_factory=dict)
    standing: Standing = Standing()
