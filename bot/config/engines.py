"""The engine chains of autocoder (seed 1), as a view of `llm_config.toml` and a way to change it.

A chain has no place of its own in the file: it shows settings that do what it did, and changing it
changes those. Whatever has no counterpart is fixed, and asking for it is refused: nothing is stored
that would have no effect.

    implement        the chain that mends, and `retry.total_attempts`
    qa_fix           `[qa]`; a change goes back to the backend that made it, so no own engines
    review           the review drain, and `review.mode`
    spec_draft       the planning drain
    spec_synthesize  `planning.synthesis`: a backend that makes one plan of several
    initializer      nothing
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bot.config import drains, shapes
from bot.config.document import Document, KeyPath
from bot.config.layers import Settings
from bot.config.schema import BackendConfig, Configuration, Drain, ReviewMode
from bot.domain.values import Value

MOST_ITERATIONS = 20
CHAINS = ("implement", "qa_fix", "review", "spec_draft", "spec_synthesize", "initializer")
DRAIN_OF = {"implement": Drain.FIX, "review": Drain.REVIEW, "spec_draft": Drain.PLANNING}
MENDS = "reviewer"  # the role of `implement` in the older schema
ITERATIONS = {"implement": "retry.total_attempts", "qa_fix": "qa.max_iterations"}
SWITCHES = {"qa_fix": "qa.enabled", "review": "review.mode", "spec_draft": "planning.enabled"}
SYNTHESIS = "planning.synthesis"

Engine = Annotated[str, Meta(min_length=1, max_length=200)]
Engines = Annotated[tuple[Engine, ...], Meta(max_length=50)]
Iterations = Annotated[int, Meta(ge=1, le=MOST_ITERATIONS)]


class Refusal(Exception):
    """A wish that cannot be met; `key` is where it stands."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


class EngineChain(Value, frozen=True):
    """One chain as it is: whether it works, how often it tries, and its backends in order."""

    enabled: bool
    max_iterations: int
    engines: tuple[str, ...]


class EngineSettings(Value, frozen=True):
    """What the interface tells, in autocoder's shape."""

    chains: dict[str, EngineChain]
    version: int = 2


class WantedChain(Value, frozen=True, forbid_unknown_fields=True):
    """What is wanted of one chain; what is left out stays."""

    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    max_iterations: Iterations | msgspec.UnsetType = msgspec.UNSET
    engines: Engines | msgspec.UnsetType = msgspec.UNSET


class WantedChains(Value, frozen=True, forbid_unknown_fields=True):
    """The chains that are to change."""

    implement: WantedChain = WantedChain()
    qa_fix: WantedChain = WantedChain()
    review: WantedChain = WantedChain()
    spec_draft: WantedChain = WantedChain()
    spec_synthesize: WantedChain = WantedChain()
    initializer: WantedChain = WantedChain()


class WantedSettings(Value, frozen=True, forbid_unknown_fields=True):
    """What a caller sends."""

    chains: WantedChains
    version: Literal[2] = 2


@dataclass(frozen=True, slots=True)
class Edit:
    """One key of a section, `path`, and its new value; None takes the key out."""

    path: KeyPath
    value: Any


def shown(file: Document, found: Configuration, settings: Settings) -> EngineSettings:
    """Return the chains in force."""
    policy = found.policy
    implement = tuple(one.name for one in policy.primary)
    synthesis = settings.value(SYNTHESIS)
    reviewed, reviewers = _or_kept(file, "review", tuple(one.name for one in policy.reviewers))
    said = {
        "implement": (bool(implement), implement),
        "qa_fix": (policy.qa.enabled, implement),
        "review": (reviewed and policy.review.mode is not ReviewMode.OFF, reviewers),
        "spec_draft": _or_kept(file, "spec_draft", tuple(one.name for one in policy.planners)),
        "spec_synthesize": (bool(synthesis), (synthesis,) if synthesis else ()),
        "initializer": (False, ()),
    }
    counts = {name: settings.value(key) for name, key in ITERATIONS.items()}
    return EngineSettings(
        {
            name: EngineChain(enabled, min(counts.get(name, 1), MOST_ITERATIONS), engines)
            for name, (enabled, engines) in said.items()
        }
    )


def merged(
    now: EngineSettings, wanted: WantedSettings, backends: Mapping[str, BackendConfig]
) -> EngineSettings:
    """Return the settings as they are wanted whole; raise `Refusal` for what cannot be.

    *backends* are those of the file by name: nothing else may be named.
    """
    chains = {}
    for name, chain in now.chains.items():
        want: WantedChain = getattr(wanted.chains, name)
        given = {key: getattr(want, key) for key in want.__struct_fields__}
        new = msgspec.structs.replace(
            chain, **{key: one for key, one in given.items() if one is not msgspec.UNSET}
        )
        _known(name, chain, new, backends)
        if name == "spec_synthesize":
            new = _consistent(new, want)
        chains[name] = new
    wish = EngineSettings(chains)
    if wanted.chains.qa_fix.engines is msgspec.UNSET:  # it has those of `implement`, whichever
        same = msgspec.structs.replace(chains["qa_fix"], engines=chains["implement"].engines)
        wish = EngineSettings({**chains, "qa_fix": same})
    for name in CHAINS:
        _possible(name, now.chains[name], wish)
    return wish


def edits(
    file: Document, now: EngineSettings, wish: EngineSettings, settings: Settings
) -> list[Edit]:
    """Return what must change in the file, so that *wish* holds instead of *now*."""
    made: list[Edit] = []
    for name, key in ITERATIONS.items():
        if (count := wish.chains[name].max_iterations) != now.chains[name].max_iterations:
            made.append(Edit(tuple(key.split(".")), count))
    if wish.chains["qa_fix"].enabled != now.chains["qa_fix"].enabled:
        made.append(Edit(("qa", "enabled"), wish.chains["qa_fix"].enabled))
    synthesis = wish.chains["spec_synthesize"]
    if synthesis != now.chains["spec_synthesize"]:
        planner = synthesis.engines[0] if synthesis.enabled else None
        made.append(Edit(("planning", "synthesis"), planner))
    for name in DRAIN_OF:
        if wish.chains[name] != now.chains[name]:
            made += _chain(file, name, wish.chains[name], made)
    made += _switch(file, now.chains["spec_draft"], wish.chains["spec_draft"], settings)
    if wish.chains["review"].enabled and settings.value(SWITCHES["review"]) == ReviewMode.OFF:
        made.append(Edit(("review", "mode"), str(ReviewMode.GATE)))
    return made


def applied(values: Mapping[str, Any], changes: Sequence[Edit]) -> dict[str, Any]:
    """Return *values*, a whole document, with the changes made."""
    made: dict[str, Any] = dict(values)
    for change in changes:
        section, key = change.path
        if change.value is not None:
            made[section] = {**made.get(section, {}), key: change.value}
        elif section in made:
            made[section] = {name: one for name, one in made[section].items() if name != key}
    return made


def difference(wish: EngineSettings, got: EngineSettings) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key in which *got* is not what was wished, with both values."""
    for name in CHAINS:
        for key in EngineChain.__struct_fields__:
            wanted, is_ = getattr(wish.chains[name], key), getattr(got.chains[name], key)
            if wanted != is_:
                yield f"chains.{name}.{key}", wanted, is_


def _or_kept(file: Document, name: str, engines: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a chain works, and its engines; one that is off keeps them under its name."""
    named = file.values.get(drains.DRAINS, {}).values()
    label = _own_label(name, named)
    kept = () if label in named else file.values.get(drains.CHAINS, {}).get(label, ())
    return bool(engines), engines or tuple(kept)


def _own_label(name: str, others: Collection[str]) -> str:
    """Return the name of the job's own chain, where the chains of other jobs are not to change."""
    return f"{name}_engines" if name in others else name


def _known(
    name: str, now: EngineChain, new: EngineChain, backends: Mapping[str, BackendConfig]
) -> None:
    """Refuse engines that the file does not have, or that it has turned off."""
    key = f"chains.{name}.engines"
    if len(set(new.engines)) < len(new.engines):
        raise Refusal(key, "an engine is named twice")
    for engine in new.engines:
        if engine not in backends:
            near = shapes.suggestion(engine, backends)
            raise Refusal(key, f'"{engine}" is no backend of the file{near}')
        if engine not in now.engines and not backends[engine].enabled:
            raise Refusal(key, f'"{engine}" is not enabled in the file')
    if new.enabled and not new.engines and new != now and name != "initializer":
        raise Refusal(key, "a chain that works needs an engine")


def _consistent(new: EngineChain, want: WantedChain) -> EngineChain:
    """Let one of the two say what it says for both: the synthesis is on when somebody does it."""
    if want.enabled is False and want.engines is msgspec.UNSET:
        return msgspec.structs.replace(new, engines=())
    if want.enabled is msgspec.UNSET:
        return msgspec.structs.replace(new, enabled=bool(new.engines))
    return new


def _possible(name: str, now: EngineChain, wish: EngineSettings) -> None:
    """Refuse what has no counterpart."""
    new, key = wish.chains[name], f"chains.{name}"
    if name not in ITERATIONS and new.max_iterations != now.max_iterations:
        raise Refusal(f"{key}.max_iterations", f"{name} is done once; it must be 1")
    if name == "implement" and not new.enabled and now.enabled:
        why = "mending cannot be turned off here; autofix = false under [regreen] does that"
        raise Refusal(f"{key}.enabled", why)
    if name == "qa_fix" and new.engines != wish.chains["implement"].engines:
        why = "a rejected change goes back to the backend that made it: leave it out, or give those"
        raise Refusal(f"{key}.engines", f"{why} of implement")
    if name == "spec_synthesize" and len(new.engines) != new.enabled:
        why = "one backend makes one plan of several; without any the first planner does"
        raise Refusal(f"{key}.engines", why)
    if name == "initializer" and (new.enabled or new.engines):
        raise Refusal(f"{key}.enabled", "there is nothing to initialize here; it must be false")


def _chain(file: Document, name: str, new: EngineChain, made: Sequence[Edit]) -> Iterator[Edit]:
    """Yield the changes that give a drain its backends."""
    legacy = file.values.get(drains.LEGACY, {})
    if any(legacy.get(role) for role in drains.ROLES):
        yield from _by_role(legacy, name, new)
        return
    chains = file.values.get(drains.CHAINS, {})
    bound = {**file.values.get(drains.DRAINS, {})}
    bound |= {edit.path[1]: edit.value for edit in made if edit.path[0] == drains.DRAINS}
    own = bound.pop(DRAIN_OF[name], None)
    others = set(bound.values())
    keeps = new.enabled and own and own not in others
    label = own if keeps else _own_label(name, others)
    engines = list(new.engines) or None
    if chains.get(label) != engines:
        yield Edit((drains.CHAINS, label), engines)
    if (wanted := label if new.enabled else None) != own:
        yield Edit((drains.DRAINS, DRAIN_OF[name]), wanted)


def _by_role(legacy: Mapping[str, Any], name: str, new: EngineChain) -> Iterator[Edit]:
    """Yield the changes where the file gives chains to roles: none reviews, one developer plans."""
    if name == "implement":
        yield Edit((drains.LEGACY, MENDS), list(new.engines))
        return
    if name == "review":
        why = f"[{drains.LEGACY}] has no chain for reviews, for its {MENDS} mends"
        named = f"[{drains.CHAINS}] and [{drains.DRAINS}]"
        raise Refusal(f"chains.{name}.engines", f"{why}: name one in {named}")
    planner = list(legacy.get("developer") or ())[:1]
    if list(new.engines) != (planner if new.enabled else []):
        why = f"[{drains.LEGACY}] has no chain for plans, so the first developer plans"
        raise Refusal(f"chains.{name}.engines", f"{why}: it must be {shapes.shown(planner)}")


def _switch(
    file: Document, now: EngineChain, new: EngineChain, settings: Settings
) -> Iterator[Edit]:
    """Yield the change of `planning.enabled`, where that decides whether anyone plans."""
    legacy = file.values.get(drains.LEGACY, {})
    key = SWITCHES["spec_draft"]
    on, said = settings.value(key), settings.origin(key) != "default"
    if new.enabled == now.enabled:
        return
    needed = said or any(legacy.get(role) for role in drains.ROLES)
    if (new.enabled and needed and not on) or (on and not new.enabled):
        yield Edit(tuple(key.split(".")), new.enabled)
