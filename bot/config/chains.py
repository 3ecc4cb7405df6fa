"""Which backends each step of a repair may use, by the drains, `[backend]` and `[planning]`.

The fix drain's chain mends, else the development drain's; without either `[backend]` decides.
A drain that the file names turns its step on. One that only takes the chain of a sibling, as the
older schema has it, does not: a file written for another program must not double what runs cost.
Without a planning drain, whom auto-coder asks where nothing is edited plans.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bot.config.backends import Backends
from bot.config.layers import Settings
from bot.config.schema import BackendConfig, BackendName, Drain, Drains, Policy

SYNTHESIS = "planning.synthesis"
Names = tuple[BackendName, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that names backends; `chosen` are the drains that the file itself names."""

    own: Settings
    found: Backends
    drains: Drains
    chosen: Collection[Drain]


def mentions(own: Settings) -> Iterator[tuple[str, str]]:
    """Yield the backends that our own sections name, each with the place where they do."""
    if name := own.value(SYNTHESIS):
        yield name, f"{own.origin(SYNTHESIS)}: {SYNTHESIS}"


def laid(policy: Policy, said: Said, warnings: list[str]) -> Policy:
    """Return *policy* with the backends of each step; say in *warnings* what has no effect."""
    primary = _primary(said, warnings)
    planners = _planners(said, primary, warnings)
    synthesis = _synthesis(said, planners, warnings)
    if said.found.noedit_at and not planners:
        warnings.append(f"{said.found.noedit_at} has no effect while [planning] is not enabled")
    return msgspec.structs.replace(
        policy,
        primary=primary,
        fallback=_names(said.found.fallback),
        planners=planners,
        analysts=_named(said, Drain.ANALYSIS),
        reviewers=_named(said, Drain.REVIEW),
        drains=said.drains,
        planning=msgspec.structs.replace(policy.planning, synthesis=synthesis),
    )


def _named(said: Said, drain: Drain) -> Names:
    """Return the chain of a drain that the file itself names."""
    chain = said.drains.chains.get(drain)
    return chain.backends if chain is not None and drain in said.chosen else ()


def _primary(said: Said, warnings: list[str]) -> Names:
    chains, settings = said.drains.chains, said.found.settings
    drain = next((one for one in (Drain.FIX, Drain.DEVELOPMENT) if one in chains), None)
    primary = _names(said.found.primary) if drain is None else chains[drain].backends
    if drain is not None:
        warnings += [
            f"{settings.origin(key)}: {key} has no effect beside the {drain} drain"
            for key in ("backend.order", "backend.default")
            if key in settings
        ]
    if not primary:
        warnings.append("no primary backend is configured: only the deterministic fixers can mend")
    return primary


def _planners(said: Said, primary: Names, warnings: list[str]) -> Names:
    """Return the whole chain of a drain that is named, else one backend where planning is on."""
    key = "planning.enabled"
    on, by = said.own.value(key), said.own.origin(key)
    chain = said.drains.chains.get(Drain.PLANNING)
    if chain is not None and Drain.PLANNING in said.chosen:
        if on or by == "default":
            return chain.backends
        warnings.append(f"{by}: {key} is false, so the planning drain has no effect")
        return ()
    if not on:
        return ()
    own = chain.backends if chain else ()
    planners = (own or _names(said.found.noedit) or primary)[:1]
    if not planners:
        warnings.append(f"{by}: {key} has no effect: there is no backend to plan")
    return planners


def _synthesis(said: Said, planners: Names, warnings: list[str]) -> str:
    name: str = said.own.value(SYNTHESIS)
    if name and said.found.by_name[name].enabled:
        return name
    if name:
        warnings.append(
            f"{said.own.origin(SYNTHESIS)}: {SYNTHESIS} names {name}, which is not enabled"
        )
    return planners[0].name if planners else ""


def _names(chain: Sequence[BackendConfig]) -> Names:
    return tuple(BackendName(one.name, one.model) for one in chain)
