"""What is refused leaves a trace in the audit trail; calls without a token do in row 45."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from bot.config.schema import Policy
from bot.domain import effects
from bot.domain.decisions import Decision, Ignore, Settle
from bot.domain.events import (
    ChecksChanged,
    CommandGiven,
    Event,
    GateAnswered,
    RetryAsked,
    Unused,
)
from bot.domain.ports import Delivery, Ports
from bot.domain.runs import Result
from bot.runtime.accounting import refused
from bot.runtime.dispatch import Dispatcher
from bot.runtime.interpreter import Interpreter
from bot.store.memory import MemoryAudit, MemoryDeliveries, MemoryRuns
from bot.telemetry.metrics import PrometheusTelemetry
from bot.web.webhooks import PATH
from tests.support.api import AT, Stopped, Whole
from tests.support.pulls import REF
from tests.support.stories import HEAD, World

BODY = b'{"action":"completed"}'


def knock(whole: Whole, body: bytes = BODY, **headers: str) -> int:
    """Send a genuine delivery but for what *headers* say."""
    signature = hmac.new(b"s" * 20, body, hashlib.sha256).hexdigest()
    usual = {
        "content_type": "application/json",
        "x_github_event": "check_run",
        "x_github_delivery": "g-1",
        "x_hub_signature_256": f"sha256={signature}",
    }
    return whole.call("POST", PATH, body, **{**usual, **headers}).status_code


@pytest.mark.parametrize(
    ("headers", "body", "outcome"),
    [
        pytest.param({"x_hub_signature_256": f"sha256={'0' * 64}"}, BODY, "unsigned", id="forged"),
        pytest.param({}, b"{]", "malformed", id="nonsense"),
    ],
)
def test_a_refused_delivery_is_audited_once_an_hour(headers, body, outcome):
    whole = Whole()
    assert {knock(whole, body, **headers) // 100 for _ in range(3)} == {4}
    (noted,) = whole.audit.of(PATH)
    assert (noted["kind"], noted["detail"]["outcome"]) == ("delivery.refused", outcome)
    assert noted["detail"]["event"] == "check_run"
    assert noted["detail"]["reason"]


FIX = CommandGiven(REF, 31, "mallory", 7, "/regreen fix")
NO = GateAnswered(pull=REF, gate="g1", approved=False, sha=HEAD, by="mallory")


@pytest.mark.parametrize(
    ("event", "by"),
    [
        pytest.param(FIX, "mallory", id="a command"),
        pytest.param(NO, "mallory", id="an answer"),
        pytest.param(RetryAsked(REF, "r1", "mallory"), "mallory", id="a call for a retry"),
        pytest.param(ChecksChanged(REF.repo, HEAD, "lint", red=True), "", id="nobody's"),
    ],
)
def test_a_person_s_refused_wish_is_audited_once(event: Event, by: str):
    audit = MemoryAudit(Stopped())
    for _ in range(2):
        refused(event, Decision(Ignore("mallory may not")), audit, key="k")
    found = [
        (row["kind"], row["detail"]["by"], row["detail"]["reason"]) for row in audit.of(str(REF))
    ]
    assert found == ([("command.refused", by, "mallory may not")] if by else [])


def test_a_granted_wish_is_no_refusal():
    audit = MemoryAudit(Stopped())
    refused(FIX, Decision(Settle(REF, "asked", now=True)), audit, key="k")
    assert list(audit.of(str(REF))) == []


@pytest.mark.parametrize("asked", [True, False])
def test_a_delivery_that_asks_for_what_nobody_may_is_audited(asked):
    deliveries, audit = MemoryDeliveries(), MemoryAudit(Stopped())
    deliveries.accept([Delivery("g-1", "issue_comment", "created", b"{}", AT)])
    asyncio.run(_read(deliveries, audit, Unused("a bot said it", refused=asked)))
    found = [(row["kind"], dict(row["detail"])) for row in audit.of("g-1")]
    told = {"event": "issue_comment", "reason": "a bot said it"}
    assert found == ([("command.refused", told)] if asked else [])


async def _read(deliveries: MemoryDeliveries, audit: MemoryAudit, event: Unused) -> None:
    async def take(*_: object) -> None:
        raise AssertionError("nothing of it is to be handed on")

    reader = Dispatcher(deliveries, lambda *_: event, take, PrometheusTelemetry(dict), audit)
    reader.start()
    async with asyncio.timeout(5):
        while deliveries.waiting(1):  # noqa: ASYNC110 -- the store tells, nobody else
            await asyncio.sleep(0)
    await reader.stop()


def test_a_rejected_attempt_is_audited_with_what_stopped_it():
    world = World(verdicts=[False])
    world.play()
    (attempt,) = world.run.attempts
    assert attempt.result is Result.REJECTED

    audit = MemoryAudit(Stopped())
    for _ in range(2):  # as after a crash between acting and recording
        ended(world.made(effects.EndPass)[-1], audit, MemoryRuns())
    (noted,) = rejections(audit, world)
    assert (noted["attempt"], noted["head"]) == (attempt.number, attempt.head)
    assert (noted["reason"], noted["tried"]) == (attempt.reason, [])


def test_an_attempt_that_goes_out_is_no_rejected_one():
    world = World()
    world.play()
    audit = MemoryAudit(Stopped())
    ended(world.made(effects.EndPass)[-1], audit, MemoryRuns())
    assert rejections(audit, world) == []


def ended(effect: effects.EndPass, audit: MemoryAudit, runs: MemoryRuns) -> None:
    """End a pass as the shell does."""
    unused: dict[str, Any] = {field.name: SimpleNamespace() for field in fields(Ports)}
    telemetry = PrometheusTelemetry(dict)
    ports = Ports(
        **unused | {"audit": audit, "runs": runs, "clock": Stopped(), "telemetry": telemetry}
    )
    outcome = Interpreter(ports, "none").perform(effect, 1, Policy())
    assert isinstance(outcome, effects.Done)


def rejections(audit: MemoryAudit, world: World) -> list[Mapping[str, Any]]:
    return [row["detail"] for row in audit.of(world.run.id) if row["kind"] == "attempt.rejected"]
