"""The whole configuration, from a file that was read and an environment.

Layers, weakest first: our defaults, the table of the environment (`REGREEN_ENV`), the file, single
variables.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from bot.config import backends, chains, drains, patterns, prices, providers, routing, shapes, ways
from bot.config.document import Document
from bot.config.layers import Settings, flat, layer
from bot.config.schema import BackendConfig, Configuration, Policy, RetentionConfig, SandboxConfig
from bot.domain.errors import ConfigError
from bot.domain.models import Caps

ENVIRONMENTS: Mapping[str, Mapping[str, Any]] = {
    "development": {
        "regreen.autofix": True,
        "retry.total_attempts": 10,
        "retry.per_step_attempts": 5,
    },
    "staging": {
        "regreen.autofix": True,
        "retry.total_attempts": 6,
        "retry.per_step_attempts": 3,
    },
    "production": {
        "regreen.autofix": False,
        "retry.total_attempts": 6,
        "retry.per_step_attempts": 3,
    },
}
# The variables of the systems that the formats come from, and the settings that they set.
VARIABLES: Mapping[str, str] = {
    "FEATURE_META_V3_AUTOFIX": "regreen.autofix",
    "META_V3_MAX_TOTAL_ATTEMPTS": "retry.total_attempts",
    "META_V3_MAX_PER_STEP_ATTEMPTS": "retry.per_step_attempts",
    "META_V3_BACKOFF_CAP_SECONDS": "retry.cap_s",
    "AUTOCODER_FEATURE_RETRY_INITIAL_DELAY_S": "retry.rejected_base_s",
    "AUTOCODER_FEATURE_RETRY_MAX_DELAY_S": "retry.rejected_cap_s",
    "AUTOCODER_FEATURE_RETRY_EXPONENTIAL_BASE": "retry.rejected_factor",
    "AUTOCODER_FEATURE_RETRY_JITTER": "retry.jitter",
    "AUTOCODER_FEATURE_MAX_SAME_ERROR_STREAK": "retry.same_error",
    "AUTOCODER_FEATURE_MAX_SAME_DIFF_STREAK": "retry.same_diff",
    "AUTOCODER_QA_FIX_ENABLED": "qa.feedback",
    "AUTOCODER_QA_SUBAGENT_ENABLED": "qa.enabled",
    "AUTOCODER_QA_MAX_SESSIONS": "qa.max_sessions",
    "AUTOCODER_QA_SUBAGENT_MAX_ITERATIONS": "qa.max_iterations",
    "AUTOCODER_PLANNER_ENABLED": "planning.enabled",
    "AUTOCODER_CONTROLLER_ENABLED": "gatekeeper.preflight",
    "AUTOCODER_LOGS_KEEP_DAYS": "retention.keep_days",
    "AUTOCODER_LOGS_KEEP_FILES": "retention.keep_files",
    "AUTOCODER_LOGS_MAX_TOTAL_MB": "retention.max_total_mb",
    "AUTOCODER_LOGS_PRUNE_ARTIFACTS": "retention.prune_artifacts",
}
ENVIRONMENT_VARIABLE = "REGREEN_ENV"
_SWITCHES = {"1": True, "true": True, "yes": True, "on": True}
_SWITCHES |= {"0": False, "false": False, "no": False, "off": False}


def environment_name(environ: Mapping[str, str]) -> str:
    """Return which environment this is, or raise `ConfigError`."""
    name = environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() or "development"
    if name not in ENVIRONMENTS:
        known = ", ".join(ENVIRONMENTS)
        raise ConfigError(f'{ENVIRONMENT_VARIABLE} must be one of {known}, not "{name}"')
    return name


def build(
    file: Document, environ: Mapping[str, str], metadata: Document | None = None
) -> tuple[Configuration, Settings]:
    """Return the configuration and who said what, or raise `ConfigError` for the first fault.

    *metadata* is the file of the providers, None where there is none.
    """
    warnings: list[str] = []
    own = _own(file, environ, warnings)
    named = drains.read(file, warnings)
    described = providers.find(metadata, warnings) if metadata else providers.NONE
    mentions = (*named.mentions(), *chains.mentions(own))
    found = backends.read(file, environ, ways.Elsewhere(mentions, named.providers, described))
    price_list, listing = prices.read(file, warnings)
    found = backends.priced(found, price_list)
    resolved = drains.resolve(file, named, found.by_name, warnings)
    routes, frameworks = routing.read(file, own, found.by_name, found.fallback, warnings)
    found = dataclasses.replace(
        found, primary=routing.ordered(found.primary, found.by_name, frameworks)
    )
    policy = msgspec.structs.replace(_policy(own), patterns=patterns.read(file, warnings))
    policy = chains.laid(policy, chains.Said(own, found, resolved, named.chosen), warnings)
    primary = [found.by_name[one.name] for one in policy.primary]
    routes = routing.turns(routes, primary, own, found.settings, warnings)
    policy = msgspec.structs.replace(policy, routing=routes)
    budget = msgspec.convert(own.under("budget"), Caps)
    if budget != Caps():
        _all_priced(file, found)
    settings = own | named.settings | found.settings | listing
    configuration = Configuration(
        policy=policy,
        backends=found.by_name,
        fallback=found.fallback,
        drains=resolved,
        sandbox=msgspec.convert(own.under("sandbox"), SandboxConfig),
        budget=budget,
        prices=price_list,
        retention=msgspec.convert(own.under("retention"), RetentionConfig),
        warnings=(*found.warnings, *warnings),
        origin={key: settings.origin(key) for key in settings},
    )
    return configuration, settings


def _own(file: Document, environ: Mapping[str, str], warnings: list[str]) -> Settings:
    """Return our own sections, layer over layer."""
    settings = layer(_defaults(), "default")
    name = environment_name(environ)
    settings |= layer(ENVIRONMENTS[name], f"{ENVIRONMENT_VARIABLE}={name}")
    for section, shape in shapes.OWN_SECTIONS.items():
        values = shapes.table(file, (section,))
        shapes.fit(file, (section,), values, shape)
        known = shapes.keys_of(shape)
        warnings += shapes.unknown(file, (section,), values, known)
        said = flat(section, {key: one for key, one in values.items() if key in known})
        settings |= layer(said, {key: file.where(tuple(key.split("."))) for key in said})
    for variable, key in VARIABLES.items():
        if text := environ.get(variable, "").strip():
            settings |= layer({key: _parsed(variable, text, key, settings.value(key))}, variable)
    return settings


def _defaults() -> dict[str, Any]:
    policy: dict[str, Any] = msgspec.to_builtins(Policy())
    own = {key: policy[key] for key in shapes.keys_of(shapes.RegreenKeys)}
    return {
        **flat("regreen", own),
        "attempts.trusted_markers": policy["trusted_markers"],
        **flat("retry", policy["retry"]),
        **flat("guard", policy["guard"]),
        **flat("qa", policy["qa"]),
        **flat("planning", policy["planning"]),
        **flat("review", policy["review"]),
        **flat("gatekeeper", policy["gatekeeper"]),
        **flat("approvals", policy["approvals"]),
        **flat("sandbox", dataclasses.asdict(SandboxConfig())),
        **flat("budget", msgspec.to_builtins(Caps())),
        **routing.defaults(),
        **flat("retention", dataclasses.asdict(RetentionConfig())),
    }


def _parsed(variable: str, text: str, key: str, like: Any) -> Any:
    """Return a variable's text as the kind of value that its setting has."""
    if isinstance(like, bool):
        if text.lower() not in _SWITCHES:
            raise ConfigError(f'{variable} must be true or false, not "{text}"')
        return _SWITCHES[text.lower()]
    whole = isinstance(like, int)
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f'{variable} must be {kind}, not "{text}"') from None
    if must := shapes.misfit(key, number):
        raise ConfigError(f"{variable} must be {must}, not {text}")
    return number


def _policy(own: Settings) -> Policy:
    """Return what our own sections say by themselves."""
    tables = ("retry", "guard", "qa", "planning", "review", "gatekeeper", "approvals")
    values = {
        **own.under("regreen"),
        "trusted_markers": own.value("attempts.trusted_markers"),
        **{name: own.under(name) for name in tables},
    }
    return msgspec.convert(values, Policy)


def _all_priced(file: Document, found: backends.Backends) -> None:
    """Raise `ConfigError` for a backend without a price: no cap could hold it."""
    for one in (*found.by_name.values(), *found.fallback):
        lacking = [way for way in one.ways.values() or (one,) if _metered(way) and not way.price]
        if not lacking:
            continue
        paths = (("backends", one.name), (one.name,))
        path = next((path for path in paths if path in file.lines), paths[0])
        through = " or its providers need" if one.ways else " needs"
        raise ConfigError(
            f"{file.where(path)}: {'.'.join(path)}{through} price_in and price_out (0 where it is "
            f'free), or [prices."{lacking[0].model}"], because [budget] sets a cap'
        )


def _metered(one: BackendConfig) -> bool:
    """Tell whether a backend's calls go through the gateway."""
    keys = (one.api_key, one.openai_api_key, one.base_url, one.openai_base_url)
    return one.enabled and one.command is None and any(key is not None for key in keys)
