"""Chooses lanes and keeps what is heard of them, in the store that all workers share.

What follows from what is in `bot/repair/lanes.py` and `bot/routing`; here it is done under the
store's lock, and lanes are probed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import fmean

from bot.config.schema import Lane, Policy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.health import Health, Known, Observation
from bot.domain.ports import Lanes, Ports
from bot.repair import lanes
from bot.routing import health
from bot.routing.chain import Route
from bot.routing.scene import Scene

DOUBTED = Ending.AUTH  # when only a probe says so
MARGIN_S = 5.0  # the right to probe outlasts the probe by this


class Keeper:
    """What passes and the prober do with lanes; safe to use from any thread."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def choose(self, ask: effects.ChooseBackend, policy: Policy) -> effects.BackendChosen:
        """Choose who works next, and keep what that changes."""
        now, fallback = self._ports.clock.now(), lanes.on_fallback(ask, policy)
        found: list[Route] = []

        def change(known: Known) -> Known:
            known, route = lanes.chosen(ask, policy, known, now)
            found.append(route)
            return known

        keys = [lane.key for lane in lanes.tier(policy, fallback=fallback)]
        self._ports.lanes.update(keys, lanes.standing_of(fallback=fallback), change)
        self._tell(found[-1])
        return lanes.told(ask, policy, found[-1], now)

    def _tell(self, route: Route) -> None:
        choice = route.choice
        if choice is not None and choice.trigger is not None and choice.lane is not None:
            self._ports.telemetry.event(
                "backend_switch",
                trigger=choice.trigger.value,
                lane=choice.lane.key,
                why=choice.reasons[-1],
            )

    def heard(
        self, effect: effects.RunBackend, answer: Answer, began: datetime, policy: Policy
    ) -> tuple[bool, bool]:
        """Note how a call ended; return whether its lane is fit, and whether a probe found it up.

        What passes by itself is asked after: a probe tells an outage from a hiccup.
        """
        tier = lanes.tier(policy, fallback=effect.fallback)
        lane = next((one for one in tier if one.key == effect.lane), None)
        if lane is None:  # a backend without health, or one that the settings know no more
            return True, False
        seen = Observation(answer.ending, self._response_s(effect, began), answer.retry_after_s)
        once = f"{effect.run}/{effect.attempt}/{effect.call}"
        after = self._observe(lane, seen, policy, fallback=effect.fallback, once=once)
        up = False
        if health.confirm(answer.ending, lane, after, self._ports.clock.now()):
            probe = self.probe(lane, policy, fallback=effect.fallback)
            up = probe is not None and not health.failed(probe)
        known = self._ports.lanes.known([one.key for one in tier])
        scene = Scene(self._ports.clock.now(), known.healths)
        return health.fit(lane.key, tier, scene, policy.routing), up

    def opinion(
        self, effect: effects.Consult, backend: str, answer: Answer, policy: Policy
    ) -> None:
        """Note how a backend answered a question, if it is one that mends as well."""
        tier = lanes.tier(policy, fallback=False)
        lane = next((one for one in tier if one.backend == backend), None)
        if lane is not None:
            seen = Observation(answer.ending, retry_after_s=answer.retry_after_s)
            asked = effect.question.purpose.value
            once = f"{effect.run}/{effect.attempt}/{asked}/{backend}"
            self._observe(lane, seen, policy, fallback=False, once=once)

    def judged(self, effect: effects.Verify, *, approved: bool) -> None:
        """Note the gatekeeper's verdict on what a lane made."""
        if effect.lane:
            self._ports.lanes.update(
                [effect.lane],
                "",
                lambda known: lanes.judged(effect.lane, known, approved=approved),
                once=f"{effect.key}/proof",
            )

    def probe(self, lane: Lane, policy: Policy, *, fallback: bool) -> Observation | None:
        """Ask a lane whether it is there, and note the answer.

        None where it cannot be asked, or somebody else is asking it now. A refused key counts only
        where a call was refused as well: some keys work and may not look at the list of models.
        """
        now, timeout_s = self._ports.clock.now(), policy.routing.health_check_timeout_s
        until = now + timedelta(seconds=timeout_s + MARGIN_S)
        if not self._ports.lanes.claim(lane.key, now, until):
            return None
        seen = self._ports.probes.probe(
            lane.backend, lane.provider, fallback=fallback, timeout_s=timeout_s
        )
        if seen is not None:
            if seen.ending is DOUBTED and not self._was_refused(lane):
                seen = Observation(Ending.NO_CHANGE, probe=True)
            self._observe(lane, seen, policy, fallback=fallback)
        self._ports.lanes.claim(lane.key, until, now)  # it is over: the next may come at once
        return seen

    def _was_refused(self, lane: Lane) -> bool:
        known = self._ports.lanes.known([lane.key]).healths.get(lane.key, Health())
        return any(sample.ending is DOUBTED for sample in known.samples[-1:])

    def _observe(
        self, lane: Lane, seen: Observation, policy: Policy, *, fallback: bool, once: str = ""
    ) -> Health:
        now = self._ports.clock.now()
        known = self._ports.lanes.update(
            [lane.key],
            lanes.standing_of(fallback=fallback),
            lambda known: lanes.heard(lane.key, seen, policy, known, now),
            once=once,
        )
        return known.healths.get(lane.key, Health())

    def _response_s(self, effect: effects.RunBackend, began: datetime) -> float | None:
        """Return how long the model took for a request, by the gateway's account; mostly a mean."""
        times = [
            call.seconds
            for call in self._ports.ledger.calls(effect.run)
            if call.origin.attempt == effect.attempt
            and call.origin.backend == effect.backend
            and call.at >= began
            and call.ending is None
        ]
        return fmean(times) if times else None


def healths(store: Lanes, now: datetime, policy: Policy) -> Mapping[str, tuple[float, bool]]:
    """Return the health of every lane in use, and whether it can be used now, for metrics."""
    every = [lane.key for lane, _ in lanes.everyone(policy)]
    known = store.known(every).healths
    told = {key: health.report(known.get(key, Health()), now, policy.routing) for key in every}
    return {key: (one.health, one.available) for key, one in told.items()}
