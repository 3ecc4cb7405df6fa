"""Plays the fleet's scenarios through LiteLLM's Router, in virtual time.

It runs where `litellm` and `time-machine` are installed, which need not be where the product is:

    PYTHON -m tests.benchmarks.routing_litellm SEED…

The Router is given what a careful user would give it: one group whose deployments are in order, so
that it goes to the next where one is cooled down, its default retries raised to three, and around
it a loop that calls again, 1, 2, 4 … 60 s later, until the task's time is up. Its event loop's
clock and the process's clock are both virtual, so its cool-downs and sleeps are played as they are.
The model calls are a custom provider that asks the same world with the same luck as our own play.
"""

import asyncio
import json
import logging
import os
import random
import selectors
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # noqa: TID251 -- else it asks the network

import httpx
import litellm
import msgspec
import time_machine
from litellm import CustomLLM, Router
from litellm.types.utils import ModelResponse

from bot.domain.answers import Ending
from bot.routing.fleet.measure import measure
from bot.routing.fleet.play import Call, Log
from bot.routing.fleet.scenarios import SCENARIOS
from bot.routing.fleet.world import Errand, Reply, Scenario, World

Ends = dict[int, tuple[float, bool]]
COOLDOWN_S = 60.0  # its default of 5 s does worse
EPOCH_S = 1_767_225_600.0
STATUS = {
    Ending.UNAVAILABLE: 503,
    Ending.INVALID: 500,
    Ending.RATE_LIMITED: 429,
    Ending.USAGE_LIMIT: 429,
    Ending.AUTH: 401,
    Ending.NOT_FOUND: 404,
}


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: where it would, its clock and the process's go on."""

    def __init__(self, traveller: time_machine.Traveller) -> None:
        self.now_s = 0.0
        self._traveller = traveller
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the virtual time."""
        return self.now_s

    def run_in_executor(  # type: ignore[override]  # what it takes is the same
        self, _executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Run it at once: no virtual time passes while a thread works."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- a future hands on whatever there is
            done.set_exception(error)
        return done

    def leap(self, by_s: float) -> None:
        """Let time pass."""
        self.now_s += by_s
        self._traveller.move_to(EPOCH_S + self.now_s, tick=False)


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0.0)
        if ready or timeout is None:
            return ready or super().select(0.01)  # only threads can bring news
        if timeout > 0:
            self.loop.leap(timeout)
        return []


class Fleet(CustomLLM):
    """The provider: which lane is called stands in the model's name, the task in its argument."""

    def __init__(self, world: World, calls: list[Call]) -> None:
        super().__init__()
        self.world = world
        self.calls = calls
        self.made: dict[int, int] = {}
        self.last: dict[int, str] = {}

    async def acompletion(self, *_: Any, model: str, messages: Any, **__: Any) -> ModelResponse:
        """Take as long as the world says, and end as it says."""
        loop = asyncio.get_running_loop()
        errand = msgspec.json.decode(messages[0]["content"], type=Errand)
        number, now_s = errand.number, loop.time()
        self.made[number] = self.made.get(number, 0) + 1
        left = self.last.get(number, model)
        left = "" if left == model else left
        self.last[number] = model
        others = [lane.key for lane in self.world.scenario.lanes if lane.key != left]
        left_well = bool(left) and self.world.well(left, now_s)
        hopeless = bool(left) and not any(self.world.serves(one, now_s) for one in others)
        reply = self.world.call(model, errand, self.made[number], now_s)
        await asyncio.sleep(reply.took_s)
        self.calls.append(
            Call(
                number,
                model,
                now_s,
                loop.time(),
                reply.ending,
                reply.cost_usd,
                left,
                left_well,
                hopeless,
            )
        )
        if reply.ending is Ending.EDITED:
            return ModelResponse(model=model)
        raise _error(reply, model)


def _error(reply: Reply, model: str) -> Exception:
    """Return what LiteLLM's own providers raise for such an end."""
    told = {"message": reply.ending.value, "llm_provider": "fleet", "model": model}
    if reply.ending is Ending.TIMEOUT:
        return litellm.Timeout(**told)
    if reply.ending is Ending.NETWORK:
        return litellm.APIConnectionError(**told)
    headers = {}
    if reply.retry_after_s is not None:
        headers["retry-after"] = str(int(reply.retry_after_s) + 1)
    request = httpx.Request("POST", "https://fleet.invalid")
    response = httpx.Response(STATUS[reply.ending], headers=headers, request=request)
    match reply.ending:
        case Ending.UNAVAILABLE:
            return litellm.ServiceUnavailableError(**told, response=response)
        case Ending.AUTH:
            return litellm.AuthenticationError(**told, response=response)
        case Ending.NOT_FOUND:
            return litellm.NotFoundError(**told, response=response)
        case Ending.INVALID:
            return litellm.InternalServerError(**told, response=response)
        case _:
            return litellm.RateLimitError(**told, response=response)


async def _task(router: Router, scenario: Scenario, errand: Errand, ends: Ends) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(errand.at_s)
    late_s, pause_s = errand.at_s + scenario.patience_s, 1.0
    messages = [{"role": "user", "content": msgspec.json.encode(errand).decode()}]
    while loop.time() < late_s:
        try:
            await router.acompletion("fleet", messages)
        except Exception:  # noqa: BLE001 -- whatever it raises is a failed call
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 60.0)
        else:
            ends[errand.number] = (loop.time(), True)
            return
    ends[errand.number] = (loop.time(), False)


async def _play(scenario: Scenario, seed: int) -> Log:
    world = World(scenario, seed)
    calls: list[Call] = []
    ends: Ends = {}
    errands = tuple(world.errands())
    litellm.custom_provider_map = [{"provider": "fleet", "custom_handler": Fleet(world, calls)}]
    litellm.utils.custom_llm_setup()
    router = Router(
        model_list=[
            {
                "model_name": "fleet",
                "litellm_params": {"model": f"fleet/{lane.key}", "order": place},
                "model_info": {"id": lane.key},
            }
            for place, lane in enumerate(scenario.lanes, 1)
        ],
        num_retries=3,
        cooldown_time=COOLDOWN_S,
        timeout=3_600,
    )
    await asyncio.gather(*(_task(router, scenario, errand, ends) for errand in errands))
    return Log(errands, tuple(sorted(calls, key=lambda call: call.from_s)), ends)


def main() -> None:
    """Print the measures of every scenario and seed as JSON."""
    logging.disable(logging.CRITICAL)
    litellm.suppress_debug_info = True
    seeds = [int(seed) for seed in sys.argv[1:]] or [1]
    rows = []
    for scenario in SCENARIOS:
        for seed in seeds:
            random.seed(seed)
            with time_machine.travel(EPOCH_S, tick=False) as traveller:
                loop = VirtualLoop(traveller)
                log = loop.run_until_complete(_play(scenario, seed))
                loop.close()
            measures = msgspec.to_builtins(measure(scenario, seed, log))
            rows.append({"scenario": scenario.name, "measures": measures})
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
