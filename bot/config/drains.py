"""Which backends each drain works through: `[agent_chains]`, `[agent_drains]`, `[agent_chain]`.

A chain is an ordered list of backends, a drain a job that works through one. The older schema gives
chains to four roles, from which the six drains take theirs; a file that gives chains in both ways
is refused with the mend. `[agent_chain]` holds the retry keys and `provider_fallback` in either.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.config import autocoder, shapes
from bot.config.document import Document
from bot.config.layers import Settings, flat, layer
from bot.config.schema import BackendConfig, BackendName, Chain, Drain, Drains
from bot.domain.errors import ConfigError

CHAINS, DRAINS, LEGACY = shapes.DRAIN_SECTIONS
ROLES = ("developer", "reviewer", "commit", "analysis")
# A drain's role, then the role whose chain it takes when that has none.
ROLE_OF: Mapping[Drain, tuple[str, ...]] = {
    Drain.PLANNING: ("developer",),
    Drain.DEVELOPMENT: ("developer",),
    Drain.REVIEW: ("reviewer",),
    Drain.FIX: ("reviewer",),
    Drain.COMMIT: ("commit", "reviewer"),
    Drain.ANALYSIS: ("analysis", "developer"),
}
# Jobs that only the newer schema turns on: the older one's roles would make every run dearer.
_BY_NAME_ONLY = frozenset({Drain.PLANNING, Drain.REVIEW})
# One of them in the file, and all of them decide how a chain is gone through again.
_ROUNDS = frozenset({"retry_delay_ms", "backoff_multiplier", "max_backoff_ms", "max_cycles"})
_MOST_FACTOR = 1000.0

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What the file says, while it is not yet known what its backends are.

    `places` says for each chain where it stands. `chosen` are the drains to which the file itself
    gives a chain, so not those that take that of a sibling.
    """

    chains: Mapping[str, Names]
    places: Mapping[str, str]
    drains: Mapping[Drain, str]
    chosen: frozenset[Drain]
    keys: shapes.AgentChainKeys
    providers: Mapping[str, Names]
    settings: Settings

    def mentions(self) -> Iterator[tuple[str, str]]:
        """Yield every backend of every chain, and the place that names it."""
        for chain, names in self.chains.items():
            for name in names:
                yield name, self.places[chain]


def read(file: Document, warnings: list[str]) -> Named:
    """Return what *file* says of chains and drains, or raise `ConfigError` for the first fault."""
    legacy = shapes.table(file, (LEGACY,))
    keys = shapes.fit(file, (LEGACY,), legacy, shapes.AgentChainKeys)
    warnings += shapes.unknown(file, (LEGACY,), legacy, shapes.keys_of(shapes.AgentChainKeys))
    chains, drains = _chains(file), _drains(file)
    if chains or drains:
        _not_both(file, legacy, chains, drains)
        _bound(file, legacy, chains, drains)
        places = {name: _place(file, CHAINS, name) for name in chains}
        warnings += [
            f"{places[name]} has no effect: no drain of [{DRAINS}] names it"
            for name in chains
            if name not in drains.values()
        ]
        chosen = frozenset(drains)
    else:
        chains = {role: names for role in ROLES if (names := getattr(keys, role))}
        places = {role: _place(file, LEGACY, role) for role in chains}
        drains = _by_role(chains)
        chosen = _chosen(drains)
    warnings += [
        f"{_place(file, *path)} has no effect yet" for path in _idle(legacy, drains, chosen)
    ]
    providers = _providers(file, keys)
    return Named(chains, places, drains, chosen, keys, providers, _said(file))


def resolve(
    file: Document, named: Named, found: Mapping[str, BackendConfig], warnings: list[str]
) -> Drains:
    """Return the drains with their backends, or raise `ConfigError` for one that is not known."""
    known = {*found, *autocoder.AGENTS}
    for name in named.providers:
        if name not in known:
            where = _place(file, LEGACY, "provider_fallback", name)
            near = shapes.suggestion(name, known)
            raise ConfigError(f"{where}: there is no backend of this name{near}")
    warnings += [
        f"{where} names {name}, which {why}"
        for name, where in named.mentions()
        if (why := autocoder.idle(found[name]))
    ]
    keys = named.keys
    return Drains(
        chains={
            drain: Chain(chain, _enabled(named.chains[chain], found))
            for drain, chain in named.drains.items()
        },
        provider_fallback=dict(named.providers),
        max_retries=keys.max_retries,
        retry_delay_ms=keys.retry_delay_ms,
        multiplier_hundredths=math.floor(min(keys.backoff_multiplier, _MOST_FACTOR) * 100 + 0.5),
        max_backoff_ms=keys.max_backoff_ms,
        max_cycles=keys.max_cycles,
        own_rounds=not _ROUNDS.isdisjoint(shapes.table(file, (LEGACY,))),
    )


def _idle(
    legacy: Mapping[str, Any], drains: Mapping[Drain, str], chosen: frozenset[Drain]
) -> Iterator[tuple[str, str]]:
    """Yield where something is said that nothing goes by."""
    if Drain.COMMIT in chosen:
        by_role = drains[Drain.COMMIT] in legacy
        yield (LEGACY, "commit") if by_role else (DRAINS, str(Drain.COMMIT))


def _chains(file: Document) -> dict[str, Names]:
    values = shapes.table(file, (CHAINS,))
    return {name: shapes.fit(file, (CHAINS, name), one, Names) for name, one in values.items()}


def _drains(file: Document) -> dict[Drain, str]:
    values = shapes.table(file, (DRAINS,))
    for name in values:
        if name not in list(Drain):
            near = shapes.suggestion(name, Drain)
            where = _place(file, DRAINS, name)
            raise ConfigError(f"{where} is no drain ({', '.join(Drain)}){near}")
    return {Drain(name): shapes.fit(file, (DRAINS, name), one, str) for name, one in values.items()}


def _bound(
    file: Document,
    legacy: Mapping[str, Any],
    chains: Mapping[str, Names],
    drains: Mapping[Drain, str],
) -> None:
    """Make sure that every drain names a chain that holds something."""
    for drain, name in drains.items():
        where = _place(file, DRAINS, drain)
        if name not in chains:
            near = shapes.suggestion(name, chains)
            if name in legacy:
                near = f"; it stands in [{LEGACY}]: did you mean [{CHAINS}]?"
            raise ConfigError(f'{where} names "{name}", which is no chain of [{CHAINS}]{near}')
        if not chains[name]:
            raise ConfigError(f'{where} names "{name}", a chain without backends')


def _not_both(
    file: Document,
    legacy: Mapping[str, Any],
    chains: Mapping[str, Names],
    drains: Mapping[Drain, str],
) -> None:
    """Refuse roles beside named chains, and show how the file would say the same."""
    roles = {role: legacy[role] for role in ROLES if role in legacy}
    if not roles:
        return
    bound = _by_role(roles)
    quiet = {*_BY_NAME_ONLY, Drain.ANALYSIS} - _chosen(bound)  # to name them would turn them on
    missing = {one: role for one, role in bound.items() if one not in drains and one not in quiet}
    wanted = {role: roles[role] for role in missing.values() if role not in chains}
    mend = [f"[{CHAINS}]"] if wanted else []
    mend += [f"{role} = {shapes.shown(names)}" for role, names in wanted.items()]
    mend += [f"[{DRAINS}]"] if missing else []
    mend += [f'{drain} = "{role}"' for drain, role in missing.items()]
    lines = "\n".join(f"    {line}" for line in mend)
    raise ConfigError(
        f"{_place(file, LEGACY, next(iter(roles)))} cannot stand beside [{CHAINS}] and [{DRAINS}]:"
        f" chains are given in one way. Take {', '.join(roles)} out of [{LEGACY}]"
        + (f" and write:\n{lines}" if lines else "")
    )


def _by_role(roles: Mapping[str, Sequence[str]]) -> dict[Drain, str]:
    """Return the role whose chain each drain takes, where there is one that is not empty."""
    return {
        drain: role
        for drain, candidates in ROLE_OF.items()
        if (role := next((one for one in candidates if roles.get(one)), None)) is not None
    }


def _chosen(drains: Mapping[Drain, str]) -> frozenset[Drain]:
    """Return the drains that have their own role's chain, but those that must be named."""
    own = {drain for drain, role in drains.items() if role == ROLE_OF[drain][0]}
    return frozenset(own) - _BY_NAME_ONLY


def _providers(file: Document, keys: shapes.AgentChainKeys) -> dict[str, Names]:
    path = (LEGACY, "provider_fallback")
    given = keys.provider_fallback or {}
    return {name: shapes.fit(file, (*path, name), one, Names) for name, one in given.items()}


def _said(file: Document) -> Settings:
    """Return all that the sections say, over the defaults of the retry keys."""
    plain, known = shapes.AgentChainKeys(), shapes.keys_of(shapes.AgentChainKeys)
    own = [key for key in known if key not in {*ROLES, "provider_fallback"}]
    settings = layer({f"{LEGACY}.{key}": getattr(plain, key) for key in own}, "default")
    for section in shapes.DRAIN_SECTIONS:
        table = shapes.table(file, (section,))
        values = {key: one for key, one in table.items() if section != LEGACY or key in known}
        said = flat(section, values)
        settings |= layer(said, {key: file.where(tuple(key.split("."))) for key in said})
    return settings


def _enabled(names: Names, found: Mapping[str, BackendConfig]) -> tuple[BackendName, ...]:
    chosen = (found[name] for name in dict.fromkeys(names))
    return tuple(BackendName(one.name, one.model) for one in chosen if not autocoder.idle(one))


def _place(file: Document, *path: str) -> str:
    return f"{file.where(path)}: {'.'.join(path)}"
