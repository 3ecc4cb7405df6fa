"""Row 2: a genuine delivery is sent again under new GUIDs; no signature covers the GUID.

Controls: a hint is looked at once a turn (`dispatch._hint`), a command is done once for its comment
(`dispatch._key`), looks at one pull request are settled into one, and what is done stands on facts
that are read anew. Off (every delivery another hint), each one would be worked on.
"""

import asyncio
import uuid

import httpx

from bot.domain.events import ChecksChanged, CommandGiven
from bot.domain.ports import Delivery
from bot.domain.values import PullRef, Sha
from bot.runtime import dispatch
from bot.store.memory import MemoryDeliveries
from bot.telemetry.metrics import PrometheusTelemetry
from tests.support.controls import switched_off
from tests.support.intake import StoppedClock
from tests.support.scenes import BROKEN, MENDED
from tests.support.signed import post

GUIDS = [str(uuid.uuid4()) for _ in range(100)]
RED = ChecksChanged("octo/app", Sha("a" * 40), "test", red=True)
FIX = CommandGiven(PullRef("octo/app", 7), 31, "mona", 7, "/regreen fix")


def handed_over(event: ChecksChanged | CommandGiven) -> list[str]:
    """Return the keys under which one event, delivered a hundred times, is handed over."""
    deliveries, keys, now = MemoryDeliveries(), list[str](), StoppedClock().now()
    deliveries.accept([Delivery(guid, "check_run", "", b"", now) for guid in GUIDS])

    async def take(_: object, key: str) -> None:
        keys.append(key)

    async def read() -> None:
        reader = dispatch.Dispatcher(deliveries, lambda *_: event, take, PrometheusTelemetry())
        reader.start()
        async with asyncio.timeout(20):
            while deliveries.waiting(1):  # noqa: ASYNC110 -- the store tells, nobody else
                await asyncio.sleep(0)
        await reader.stop()

    asyncio.run(read())
    return keys


def test_a_hundred_hints_are_one():
    assert len(handed_over(RED)) == 1


def test_a_hundred_commands_have_one_key():
    assert set(handed_over(FIX)) == {"command:octo/app:31"}


def test_without_it_each_would_be_looked_at():
    with switched_off(dispatch, "_hint", lambda _: object()):
        assert len(handed_over(RED)) == len(GUIDS)
    with switched_off(dispatch, "_key", lambda _, guid: guid):
        assert len(set(handed_over(FIX))) == len(GUIDS)


def test_a_hundred_copies_make_one_run(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    github.sim.wait_idle()
    (opened,) = [
        one.payload
        for one in github.sim.deliveries()
        if one.event == "pull_request" and one.payload["number"] == pull.number
    ]
    url, secret = bot.server.url, github.sim.webhook_secret
    with httpx.Client() as client:
        told = {post(client, url, secret, "pull_request", opened).status_code for _ in GUIDS}
    bot.settle()
    assert told == {202}
    (run,) = bot.runs(pull)
    assert len(run.attempts) == len(pull.attempts()) == len(model.calls) == 1
