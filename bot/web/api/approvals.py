"""`POST /api/meta/v3/approvals/{gate_id}/approve|reject`: a person's word at a gate.

Whoever bears the token vouches that the word is `approver`'s. What is checked here is that the call
says so in full: an empty body, `{}` or another commit is no answer, neither yes nor no. The word is
then stored and answered with 202. Whether it counts is the worker's to say: it asks GitHub what
`approver` may do in this repository, at that moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.routing import Route

from bot.domain.events import GateAnswered
from bot.domain.ports import Clock
from bot.domain.runs import Gate, GateState, Run
from bot.domain.values import Secret, Sha
from bot.web.api.endpoints import Call, Login, Refused, endpoint, hand_over, read
from bot.web.webhooks import Inbox

PATH = "/api/meta/v3/approvals/{gate_id}"
EXAMPLE = '{"approver": "GitHub login", "sha": "full SHA of the gate\'s commit", "reason": "…"}'

FullSha = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?\Z")]


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a no must say; `sha` is compared where it is given.

    Unknown fields are refused: `{"approved": true}` in a rejection must not become a no.
    """

    approver: Login
    sha: FullSha | None = None
    reason: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


class Approval(Rejection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a yes must say: to which commit, above all."""

    sha: FullSha


class Accepted(msgspec.Struct, frozen=True):
    """The word is stored; the worker judges it."""

    gate_id: str
    status: str = "accepted"


def routes(
    token: Secret | None, *, by_gate: Callable[[str], Run | None], inbox: Inbox, clock: Clock
) -> Sequence[Route]:
    """Return the two routes, or none without a *token* that callers must bear.

    *by_gate* finds the run that a gate belongs to; it may block.
    """
    if token is None:
        return ()

    async def approve(call: Call) -> object:
        return await judge(call.names["gate_id"], read(call.body, Approval, example=EXAMPLE))

    async def reject(call: Call) -> object:
        return await judge(call.names["gate_id"], read(call.body, Rejection, example=EXAMPLE))

    async def judge(gate_id: str, word: Rejection) -> Accepted:
        run = await asyncio.to_thread(by_gate, gate_id)
        gate = next((one for one in run.gates if one.id == gate_id), None) if run else None
        if run is None or gate is None:
            raise Refused(404, f"there is no gate {gate_id}")
        _check(gate, word, clock.now())
        approved = isinstance(word, Approval)
        event = GateAnswered(run.pull, gate.id, approved, gate.head, word.approver, word.reason)
        await hand_over(event, inbox, clock)
        return Accepted(gate.id)

    return (
        endpoint(f"{PATH}/approve", approve, token=token, method="POST", status=202),
        endpoint(f"{PATH}/reject", reject, token=token, method="POST", status=202),
    )


def _check(gate: Gate, word: Rejection, now: datetime) -> None:
    """Refuse what can be seen to be no answer without asking GitHub."""
    if gate.state is not GateState.PENDING:
        by = f" by {gate.by}" if gate.by else ""
        why = f"this gate takes no answer any more: it is {gate.state}{by}"
        raise Refused(409, why, gate_id=gate.id, state=gate.state)
    if now >= gate.expires_at:
        why = "this gate takes no answer any more: it has expired"
        raise Refused(409, why, gate_id=gate.id, state=GateState.EXPIRED)
    if word.sha is not None and Sha(word.sha) != gate.head:
        why = "the change of this gate is for another commit than `sha`: look at it again"
        raise Refused(409, why, gate_id=gate.id, state=gate.state)
    if isinstance(word, Approval) and word.approver.casefold() == gate.asked_by.casefold():
        raise Refused(403, f"{word.approver} asked for this try and may not approve it")
