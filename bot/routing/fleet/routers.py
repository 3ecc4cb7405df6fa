"""What can be played: the routing of production, and a plain loop of retries to compare it with."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bot.config.schema import Lane, RoutingPolicy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation, Standing
from bot.routing import health as conditions
from bot.routing.choice import Choice, choose, settled
from bot.routing.fleet.play import Job, Move, Use, Wait
from bot.routing.fleet.world import Reply
from bot.routing.health import Trigger
from bot.routing.meaning import MEANINGS, After, Again, Fault, Through, after
from bot.routing.scene import NOTHING, Scene

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class _Pass:
    """What a pass remembers of its task: lanes that failed, and how the last call ended."""

    tried: tuple[str, ...] = ()
    failures: int = 0
    ended: Reply | None = None
    ended_s: float = 0.0
    rounds: int = 0


@dataclass(slots=True)
class Routed:
    """Production's routing, with its store in memory."""

    lanes: tuple[Lane, ...]
    policy: RoutingPolicy
    healths: dict[str, Health] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    passes: dict[int, _Pass] = field(default_factory=dict)

    def next(self, job: Job, now_s: float) -> Move:
        """Ask the same lane again, or choose one."""
        this = self.passes.setdefault(job.errand.number, _Pass())
        if this.ended is not None:
            then = self._after(job, this, now_s)
            if isinstance(then, Again):
                return Use(job.lane, then.after_s)
        scene = self._scene(job, now_s, this.tried)
        choice = choose(self.lanes, scene, self.policy)
        self.standing = choice.standing
        if choice.lane is None:
            return self._wait(this, choice, now_s)
        key, this.failures = choice.lane.key, 0
        if choice.trial:
            self.healths[key] = conditions.tried(self.healths[key], scene.now)
        left = scene.standing.lane if choice.trigger and key == choice.standing.lane else ""
        return Use(key, 0.0, left, choice.trigger is Trigger.RETURN, choice.trial)

    def ended(self, job: Job, reply: Reply, now_s: float) -> bool:
        """Note the call in the lane's health."""
        this, now = self.passes[job.errand.number], _moment(now_s)
        seen = Observation(reply.ending, reply.response_s, reply.retry_after_s)
        health = conditions.observe(self._health(job.lane), seen, now, self.policy)
        self.healths[job.lane] = health
        this.ended, this.ended_s = reply, now_s
        this.failures += 1
        if reply.ending is Ending.EDITED:
            self._after(job, this, now_s)
        return conditions.confirm(reply.ending, self._lane(job.lane), health, now)

    def _after(self, job: Job, this: _Pass, now_s: float) -> After:
        """Say what a call's end means for its task, by what is known now of its lane."""
        reply, this.ended = this.ended, None
        assert reply is not None
        scene = self._scene(job, now_s)
        then = after(
            reply.ending,
            failures=this.failures,
            fit=conditions.fit(job.lane, self.lanes, scene, self.policy),
            retry_after_s=reply.retry_after_s,
        )
        if isinstance(then, Again):
            heard = self._health(job.lane).probed_at
            found_up = heard is not None and heard >= _moment(this.ended_s)
            return Again(reply.retry_after_s or 0.0) if found_up else then
        if not isinstance(then, Through):
            this.tried = (*this.tried, job.lane)
        well = MEANINGS[reply.ending].fault is not Fault.LANE
        self.standing = settled(self.standing, job.lane, scene, self.policy, well=well)
        return then

    def probe_at(self, key: str, now_s: float) -> float | None:
        """Return when production would probe the lane."""
        if not self._lane(key).probed:
            return None
        due = conditions.probe_at(self._health(key), _moment(now_s), self.policy)
        return (due - EPOCH).total_seconds()

    def probed(self, key: str, reply: Reply, now_s: float) -> None:
        """Note the probe in the lane's health."""
        seen = Observation(reply.ending, reply.response_s, probe=True)
        health = conditions.observe(self._health(key), seen, _moment(now_s), self.policy)
        self.healths[key] = health

    def _health(self, key: str) -> Health:
        return self.healths.get(key, NOTHING)

    def _lane(self, key: str) -> Lane:
        return next(lane for lane in self.lanes if lane.key == key)

    def _scene(self, job: Job, now_s: float, tried: tuple[str, ...] = ()) -> Scene:
        return Scene(
            _moment(now_s),
            self.healths,
            self.standing,
            repo="fleet/play",
            number=job.errand.number,
            kinds=job.errand.kinds,
            tried=tried,
        )

    def _wait(self, this: _Pass, choice: Choice, now_s: float) -> Wait:
        """Wait for news of a lane, or begin another round through lanes that could go on."""
        this.tried = ()
        this.rounds += 1
        if choice.wait_until is not None:
            return Wait((choice.wait_until - _moment(now_s)).total_seconds())
        return Wait(min(2.0 ** (this.rounds - 1), LONGEST_PAUSE_S))


@dataclass(slots=True)
class Plain:
    """A loop of retries as it is written by hand: each lane three times, then the next, no memory.

    It waits 1 and 2 s between tries of a lane, longer where Retry-After says so, and 1, 2, 4 … s
    before each further round of the chain; never more than a minute.
    """

    lanes: tuple[Lane, ...]
    tries: int = 3
    failures: dict[int, int] = field(default_factory=dict)
    asked_s: dict[int, float] = field(default_factory=dict)

    def next(self, job: Job, now_s: float) -> Move:  # noqa: ARG002 -- it looks at no clock
        """Go on where the job's own count of failures points to."""
        number = job.errand.number
        failures = self.failures.get(number, 0)
        place, nth = divmod(failures, self.tries)
        round_, at = divmod(place, len(self.lanes))
        pause_s = 0.0
        if nth:
            pause_s = max(2.0 ** (nth - 1), self.asked_s.get(number, 0.0))
        elif at == 0 and round_:
            pause_s = 2.0 ** (round_ - 1)
        return Use(self.lanes[at].key, min(pause_s, LONGEST_PAUSE_S))

    def ended(self, job: Job, reply: Reply, now_s: float) -> bool:  # noqa: ARG002 -- nor here
        """Count a failure; probe nothing."""
        number = job.errand.number
        if reply.ending is not Ending.EDITED:
            self.failures[number] = self.failures.get(number, 0) + 1
            self.asked_s[number] = reply.retry_after_s or 0.0
        return False

    def probe_at(self, key: str, now_s: float) -> float | None:  # noqa: ARG002 -- it probes nothing
        """Return that no lane is probed."""
        return None

    def probed(self, key: str, reply: Reply, now_s: float) -> None:
        """Do nothing: nothing is probed."""


def _moment(at_s: float) -> datetime:
    return EPOCH + timedelta(seconds=at_s)
