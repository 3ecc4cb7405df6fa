"""The gate at which a proved change waits for a person's yes.

A gate is bound to the head that its change goes onto. Who may answer has the role that the policy
asks for and did not ask for the try. It reminds once and expires; a push, a green CI or a stop
voids it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from bot.config.schema import ApprovalPolicy
from bot.domain.runs import Gate, GateState, Run
from bot.domain.values import Sha

ROLES = {"write": frozenset({"write", "maintain", "admin"}), "admin": frozenset({"admin"})}
SHORTEST_SHA = 7  # characters by which a person may name a commit


def opened(
    run: Run,
    policy: ApprovalPolicy,
    *,
    types: tuple[str, ...],
    diff: str,
    reason: str,
    at: datetime,
) -> Run:
    """Return the run with one more gate, at which *diff* waits."""
    gate = Gate(
        id=f"{run.id}-{len(run.gates) + 1}",
        types=types,
        head=run.head,
        reason=reason,
        diff=diff,
        asked_at=at,
        remind_at=at + timedelta(seconds=policy.remind_s),
        expires_at=at + timedelta(seconds=policy.expire_s),
        role=policy.role,
        asked_by=run.asked_by,
    )
    return msgspec.structs.replace(run, gates=(*run.gates, gate))


def ended(run: Run, state: GateState, at: datetime, *, by: str = "", note: str = "") -> Run:
    """Return the run with its pending gate ended; as it is when none is pending."""
    gates = tuple(
        msgspec.structs.replace(gate, state=state, at=at, by=by, note=note, diff="")
        if gate.state is GateState.PENDING
        else gate
        for gate in run.gates
    )
    return msgspec.structs.replace(run, gates=gates)


def reminded(run: Run) -> Run:
    """Return the run with its pending gate's reminder noted."""
    gates = tuple(
        msgspec.structs.replace(gate, reminders=gate.reminders + 1)
        if gate.state is GateState.PENDING
        else gate
        for gate in run.gates
    )
    return msgspec.structs.replace(run, gates=gates)


def next_look_s(gate: Gate, now: datetime) -> float:
    """Return in how many seconds the gate reminds or expires."""
    at = gate.expires_at if gate.reminders else min(gate.remind_at, gate.expires_at)
    return max((at - now).total_seconds(), 1.0)


def refusal(
    gate: Gate,
    *,
    by: str,
    permission: str,
    head: Sha | None,
    now: datetime,
    named: str = "",
    approved: bool,
) -> str:
    """Return why this person's answer does not count; empty when it does.

    *head* is the pull request's; *named* the commit that the person wrote, whole or its beginning.
    """
    if permission not in allowed(gate.role):
        return f"this takes {gate.role} permission"
    if now >= gate.expires_at:
        return f"the question was open until {gate.expires_at:%Y-%m-%d %H:%M} UTC"
    if not approved:
        return ""
    if by.casefold() == gate.asked_by.casefold():
        return "whoever asked for the try may not approve it; another person must"
    if head != gate.head:
        return f"the head has moved since: the change was made for {gate.head[:10]}"
    if not means(named, gate.head):
        return f"the change waits on {gate.head[:10]}, not on {named[:40]}"
    return ""


def means(named: str, head: Sha) -> bool:
    """Say whether *named* is this commit or its beginning; nothing named is any commit."""
    return not named or (len(named) >= SHORTEST_SHA and head.startswith(named.lower()))


def allowed(role: str) -> Collection[str]:
    """Return GitHub's permissions that include *role*."""
    return ROLES.get(role, ROLES["admin"])
