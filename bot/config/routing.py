"""How backends are chosen: `[fallback_system]`, `[frameworks.*]` and `[task_routing]` (seed 3).

A framework is a backend's place in the order: those named go by priority, the others follow as
`[backend]` has them. Every name must be a backend's, so that a typing error is found at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from bot.config import shapes
from bot.config.autocoder import AGENTS, idle
from bot.config.document import Document
from bot.config.layers import Settings
from bot.config.schema import BackendConfig, Lane, RoutingPolicy, Strategy
from bot.domain.errors import ConfigError
from bot.domain.values import FailureType

SECTION = "fallback_system"
# The keys of `[fallback_system]` and what they set; `overrides` stands apart, as its keys are free.
FIELDS: Mapping[str, str] = {
    "enabled": "enabled",
    "strategy": "strategy",
    "monitoring_interval": "monitoring_interval_s",
    "health_check_timeout": "health_check_timeout_s",
    "consecutive_failure_threshold": "consecutive_failures",
    "error_rate_threshold": "error_rate",
    "response_time_threshold": "response_time_s",
    "hysteresis_time": "hysteresis_s",
    "min_health": "min_health",
    "min_target_health": "min_target_health",
    "preventive": "preventive",
    "compare": "compare",
    "compare_share": "compare_share",
}
# The kinds of task that `bot/routing/tasks.py` tells apart, besides the types of failure.
KINDS = ("web_development", "algorithm_implementation", "simple_tasks", "complex_tasks")
SIDES = 2  # of a comparison
ORDINARY_IN, ORDINARY_OUT = 60_000, 4_000  # tokens of a call that a lane's price is for
_MILLION = 1_000_000

Frameworks = Mapping[str, shapes.FrameworkKeys]  # by the backend's name


def defaults() -> dict[str, Any]:
    """Return the defaults of `[fallback_system]` by their dotted keys."""
    policy = RoutingPolicy()
    return {f"{SECTION}.{key}": getattr(policy, name) for key, name in FIELDS.items()}


def read(
    file: Document,
    own: Settings,
    by_name: Mapping[str, BackendConfig],
    fallback: Sequence[BackendConfig],
    warnings: list[str],
) -> tuple[RoutingPolicy, Frameworks]:
    """Return how backends are chosen, and the frameworks, or raise `ConfigError`.

    The strategy may still change: `turns` knows the primary rotation.
    """
    found = _frameworks(file, warnings)
    keys = shapes.fit(file, (SECTION,), shapes.table(file, (SECTION,)), shapes.FallbackSystemKeys)
    overrides = keys.overrides or {}
    for pattern, backend in overrides.items():
        _known(file, (SECTION, "overrides", pattern), backend, by_name)
    values = {name: own.value(f"{SECTION}.{key}") for key, name in FIELDS.items()}
    compare = tuple(Strategy(one) for one in values["compare"])
    if compare and len({*compare}) != SIDES:
        where = file.where((SECTION, "compare"))
        raise ConfigError(f"{where}: {SECTION}.compare must name two different strategies")
    inline = [one for one in fallback if by_name.get(one.name) is not one]
    policy = RoutingPolicy(
        **{**values, "strategy": Strategy(values["strategy"]), "compare": compare},
        tasks=_tasks(file, by_name, warnings),
        overrides=overrides,
        lanes=tuple(
            lane for one in by_name.values() for lane in _lanes(one, found.get(one.name), one.name)
        ),
        fallback_lanes=tuple(
            lane for one in inline for lane in _lanes(one, None, f"{one.name} (fallback)")
        ),
    )
    return policy, found


def turns(
    routing: RoutingPolicy,
    primary: Sequence[BackendConfig],
    own: Settings,
    settings: Settings,
    warnings: list[str],
) -> RoutingPolicy:
    """Return the policy with `always_switch_after_execution` heeded: the rotation takes turns.

    auto-coder has such a backend work once, then the next of the order is up. A strategy that the
    file names comes first.
    """
    key = "always_switch_after_execution"
    switching = [one for one in primary if one.always_switch_after_execution]
    if not switching:
        return routing
    where = settings.origin(f"backends.{switching[0].name}.{key}")
    told = f"{where}: backends.{switching[0].name}.{key}"
    by = own.origin(f"{SECTION}.strategy")
    if len(primary) == 1:
        warnings.append(f"{told} has no effect: there is no other backend to switch to")
    elif not routing.enabled:
        warnings.append(f"{told} has no effect: {SECTION}.enabled is false")
    elif by != "default" and routing.strategy is not Strategy.ROUND_ROBIN:
        warnings.append(f"{told} has no effect: {by} sets the strategy {routing.strategy}")
    else:
        if len(switching) < len(primary):
            warnings.append(f"{told} holds for all of the rotation: its backends take turns")
        return replace(routing, strategy=Strategy.ROUND_ROBIN)
    return routing


def ordered(
    primary: Sequence[BackendConfig], by_name: Mapping[str, BackendConfig], found: Frameworks
) -> tuple[BackendConfig, ...]:
    """Return the primary rotation with the frameworks at its head, by priority, if enabled."""
    off = {name for name, keys in found.items() if not keys.enabled}
    place = {name: (keys.priority or 0, at) for at, (name, keys) in enumerate(found.items())}
    first = [by_name[name] for name in sorted(place, key=lambda name: place[name])]
    everyone = dict.fromkeys(one.name for one in (*first, *primary))
    return tuple(by_name[name] for name in everyone if name not in off and not idle(by_name[name]))


def _frameworks(file: Document, warnings: list[str]) -> Frameworks:
    found: dict[str, shapes.FrameworkKeys] = {}
    for label, values in shapes.table(file, ("frameworks",)).items():
        path = ("frameworks", label)
        keys = shapes.fit(file, path, shapes.table(file, path), shapes.FrameworkKeys)
        warnings += shapes.unknown(file, path, values, shapes.keys_of(shapes.FrameworkKeys))
        if keys.name is None:
            raise ConfigError(
                f"{file.where(path)}: [frameworks.{label}] needs the name of a backend"
            )
        if keys.name not in AGENTS and not _stands(file, keys.name):
            raise ConfigError(_stranger(file, (*path, "name"), keys.name, AGENTS))
        found.setdefault(keys.name, keys)
    return found


def _tasks(
    file: Document, by_name: Mapping[str, BackendConfig], warnings: list[str]
) -> dict[str, str]:
    section = "task_routing"
    tasks = shapes.texts(file, (section,))
    for kind, backend in tasks.items():
        _known(file, (section, kind), backend, by_name)
    warnings += shapes.unknown(file, (section,), tasks, (*KINDS, *FailureType))
    return tasks


def _known(
    file: Document, path: tuple[str, ...], name: str, by_name: Mapping[str, BackendConfig]
) -> None:
    if name not in by_name:
        raise ConfigError(_stranger(file, path, name, by_name))


def _stranger(file: Document, path: tuple[str, ...], name: str, known: Any) -> str:
    near = shapes.suggestion(name, known)
    return f'{file.where(path)}: {".".join(path)} names "{name}", which has no section{near}'


def _stands(file: Document, name: str) -> bool:
    """Tell whether a backend has a section, quoted or by unquoted dots, at either place."""
    for root in (file.values, file.values.get("backends", {})):
        if name in root:
            return True
        table: Any = root
        for part in name.split("."):
            table = table.get(part) if isinstance(table, Mapping) else None
        if table is not None:
            return True
    return False


def _lanes(
    config: BackendConfig, framework: shapes.FrameworkKeys | None, key: str
) -> tuple[Lane, ...]:
    """Return a backend's lanes: one for each provider, or one."""
    weight = framework.health_weight if framework else 1.0
    if not config.ways:
        return (_lane(config, key, weight),)
    return tuple(
        replace(_lane(way, f"{key}/{provider}", weight), provider=provider)
        for provider, way in config.ways.items()
    )


def _lane(config: BackendConfig, key: str, weight: float) -> Lane:
    url = config.openai_base_url or config.base_url
    host = urlsplit(url).netloc if url else config.model_provider
    return Lane(
        key,
        config.name,
        host=host or (config.backend_type if config.backend_type in AGENTS else ""),
        price_usd=_price_usd(config),
        weight=weight,
        probed=bool(url or config.api_key or config.openai_api_key),
    )


def _price_usd(config: BackendConfig) -> float | None:
    if (price := config.price) is None:
        return None
    return (ORDINARY_IN * price.input + ORDINARY_OUT * price.output) / _MILLION
