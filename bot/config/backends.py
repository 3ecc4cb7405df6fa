"""The backends of `llm_config.toml`, and the two chains that the fix drain may use.

`[backend]` orders the primary rotation, its default at the head; without an order every enabled
backend takes part. `[backend_for_failed_pr]` is a chain of its own, either a backend by itself or
an order of existing ones, and never joins the primary rotation unasked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.config import prices, sections, shapes
from bot.config.document import Document, KeyPath
from bot.config.layers import Settings, layer
from bot.config.schema import BackendConfig
from bot.domain.errors import ConfigError
from bot.domain.models import PriceOf
from bot.domain.values import Secret

DEFAULT_MODELS: Mapping[str, str] = {
    "auggie": "GPT-5",
    "claude": "sonnet",
    "gemini": "gemini-2.5-pro",
    "qwen": "qwen3-coder-plus",
}
# Agents that an order may name without a section of their own.
AGENTS = frozenset(
    {"aider", "auggie", "claude", "codex", "codex-mcp", "gemini", "jules", "opencode", "qwen"}
)
DEFAULT_VARIABLE = "AUTO_CODER_DEFAULT_BACKEND"
OWN_VARIABLES = ("api_key", "openai_api_key", "openai_base_url")  # AUTO_CODER_<NAME>_<KEY>
INHERITED = ("options", "options_for_noedit")
SHARED_VARIABLES = ("openai_api_key", "openai_base_url")  # AUTO_CODER_<KEY>, weaker than the file


@dataclass(frozen=True, slots=True)
class Section:
    """One backend as the layers leave it; `label` is what settings call its section."""

    name: str
    label: str
    settings: Settings

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        return self.settings.value(f"{self.label}.{key}", default)


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends by name, the two chains, who set what, and what is odd."""

    by_name: Mapping[str, BackendConfig]
    primary: tuple[BackendConfig, ...]
    fallback: tuple[BackendConfig, ...]
    settings: Settings
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """What is read, and the warnings that gather meanwhile."""

    file: Document
    environ: Mapping[str, str]
    warnings: list[str]

    def place(self, *path: str) -> str:
        """Return how errors name a key: file, line and dotted key."""
        return f"{self.file.where(path)}: {'.'.join(path)}"


@dataclass(frozen=True, slots=True)
class _Rotation:
    """`[backend]` with its variable laid over it."""

    default: str | None
    order: tuple[str, ...]
    settings: Settings


def read(
    file: Document, environ: Mapping[str, str], mentions: Iterable[tuple[str, str]] = ()
) -> Backends:
    """Return the backends and chains of a file, or raise `ConfigError`.

    *mentions* are backends that other sections name, each with the place where it does. An agent
    that has no section is known by that, but joins no rotation.
    """
    source = _Source(file, environ, [])
    found = sections.find(file, source.warnings)
    rotation = _rotation(source, found)
    failed_at, failed = _failed(source)
    _known(found, failed.order, source.place(failed_at, "order"))
    listed = tuple(found)
    for name, where in mentions:
        _known(found, [name], where)
    built = {
        name: _section(source, path, name, f"backends.{name}", shapes.BackendKeys)
        for name, path in found.items()
    }
    built = {name: _complete(_inherit(one, built)) for name, one in built.items()}
    by_name = {name: _backend(one) for name, one in built.items()}
    order = _primary(rotation, [by_name[name] for name in listed], failed.order)
    primary = _enabled(source, order, by_name, "backend")
    settings = rotation.settings
    for one in built.values():
        settings |= one.settings
    fallback: tuple[BackendConfig, ...] = ()
    if failed.enabled and failed.order:
        fallback = _enabled(source, failed.order, by_name, failed_at)
    elif failed.enabled:
        inline = _inline(source, failed_at, failed, built)
        settings |= inline.settings
        fallback = (_backend(inline),)
    return Backends(by_name, primary, fallback, settings, tuple(source.warnings))


def priced(found: Backends, price_list: tuple[PriceOf, ...]) -> Backends:
    """Return the same backends with the prices that the list has for their models."""
    by_name = {name: prices.priced(one, price_list) for name, one in found.by_name.items()}

    def same(one: BackendConfig) -> BackendConfig:
        """Return a backend of a chain: the one of that name, unless it is described by itself."""
        own = one is not found.by_name.get(one.name)
        return prices.priced(one, price_list) if own else by_name[one.name]

    primary, fallback = (tuple(map(same, chain)) for chain in (found.primary, found.fallback))
    return replace(found, by_name=by_name, primary=primary, fallback=fallback)


def _rotation(source: _Source, found: sections.Found) -> _Rotation:
    values = shapes.table(source.file, ("backend",))
    keys = shapes.fit(source.file, ("backend",), values, shapes.OrderKeys)
    known = shapes.keys_of(shapes.OrderKeys)
    source.warnings.extend(shapes.unknown(source.file, ("backend",), values, known))
    said = {f"backend.{key}": one for key, one in values.items() if key in known}
    settings = layer(said, {key: source.file.where(tuple(key.split("."))) for key in said})
    _known(found, keys.order, source.place("backend", "order"))
    default = source.environ.get(DEFAULT_VARIABLE) or None
    if default is not None:
        settings |= layer({"backend.default": default}, DEFAULT_VARIABLE)
        _known(found, [default], DEFAULT_VARIABLE)
    elif keys.default is not None:
        default = keys.default
        _known(found, [default], source.place("backend", "default"))
    return _Rotation(default, keys.order, settings)


def _failed(source: _Source) -> tuple[str, shapes.FallbackKeys]:
    """Return the name of the fallback's section and its keys; not enabled when there is none."""
    there = [name for name in sections.FALLBACK_SECTIONS if name in source.file.values]
    if not there:
        return "", shapes.FallbackKeys(enabled=False)
    name, *others = there
    source.warnings.extend(
        f"{source.file.where((other,))}: [{other}] is ignored beside [{name}]" for other in others
    )
    values = shapes.table(source.file, (name,))
    known = shapes.keys_of(shapes.FallbackKeys)
    source.warnings.extend(shapes.unknown(source.file, (name,), values, known))
    return name, shapes.fit(source.file, (name,), values, shapes.FallbackKeys)


def _known(found: sections.Found, names: Iterable[str], where: str) -> None:
    """Make sure that every name has a section; an agent needs none of its own."""
    for name in names:
        if name not in found and name not in AGENTS:
            near = shapes.suggestion(name, {*found, *AGENTS})
            raise ConfigError(f'{where} names "{name}", which has no section{near}')
        found.setdefault(name, ("backends", name))


def _section(
    source: _Source, path: KeyPath, name: str, label: str, shape: type[shapes.BackendKeys]
) -> Section:
    """Lay the shared variables, the file and the backend's own variables over each other."""
    values = sections.keys_at(source.file, path)
    keys = shapes.fit(source.file, path, values, shape)
    known = shapes.keys_of(shape)
    if shape is shapes.BackendKeys:  # the fallback's section was looked at before
        source.warnings.extend(shapes.unknown(source.file, path, values, known))
    said = {key: getattr(keys, key) for key in known if key in values}
    for key, value in said.items():
        if key in shapes.UNUSED_KEYS:
            source.warnings.append(f"{source.place(*path, key)} has no effect yet")
        elif key in shapes.SECRET_KEYS and str(value).lower().startswith("your-"):
            source.warnings.append(f"{source.place(*path, key)} is a placeholder, not a key")
    in_file = layer(
        {f"{label}.{key}": _hidden(key, value) for key, value in said.items()},
        {f"{label}.{key}": source.file.where((*path, key)) for key in said},
    )
    shared = _variables(source.environ, label, "AUTO_CODER", SHARED_VARIABLES)
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper())
    own = _variables(source.environ, label, f"AUTO_CODER_{variable}", OWN_VARIABLES)
    return Section(name, label, shared | in_file | own)


def _variables(
    environ: Mapping[str, str], label: str, prefix: str, keys: Iterable[str]
) -> Settings:
    """Return what the environment says for these keys of a backend."""
    variables = {key: f"{prefix}_{key.upper()}" for key in keys}
    said = {key: one for key, one in variables.items() if environ.get(one)}
    values = {f"{label}.{key}": _hidden(key, environ[one]) for key, one in said.items()}
    return layer(values, {f"{label}.{key}": one for key, one in said.items()})


def _hidden(key: str, value: Any) -> Any:
    return Secret(value) if key in shapes.SECRET_KEYS else value


def _inherit(section: Section, others: Mapping[str, Section]) -> Section:
    """Take the options of the backend that `backend_type` names; lists of one's own block it."""
    parent = others.get(section.get("backend_type") or "")
    if parent is None or parent.name == section.name:
        return section
    theirs = {f"{section.label}.{key}": f"{parent.label}.{key}" for key in INHERITED}
    return replace(section, settings=_borrowed(parent.settings, theirs) | section.settings)


def _borrowed(settings: Settings, keys: Mapping[str, str]) -> Settings:
    """Return those of *settings* that were said, under the keys that *keys* gives them."""
    said = {own: theirs for own, theirs in keys.items() if theirs in settings}
    return layer(
        {own: settings.value(theirs) for own, theirs in said.items()},
        {own: f"{settings.origin(theirs)} ({theirs})" for own, theirs in said.items()},
    )


def _inline(
    source: _Source, at: str, keys: shapes.FallbackKeys, others: Mapping[str, Section]
) -> Section:
    """Return the fallback that the section itself describes, over the backend that it names."""
    name = keys.name or at
    section = _section(source, (at,), name, at, shapes.FallbackKeys)
    if (base := others.get(name)) is not None:
        keep = {
            f"{at}.{key}": key for key in shapes.keys_of(shapes.BackendKeys) if key != "enabled"
        }
        theirs = {label: f"{base.label}.{key}" for label, key in keep.items()}
        under = _borrowed(base.settings, theirs)
        section = replace(section, settings=under | section.settings)
    section = _inherit(section, others)
    named = {name, section.get("backend_type")}
    if not section.get("model") and not named & {*DEFAULT_MODELS, *others}:
        where = source.file.where((at,))
        raise ConfigError(f"{where}: {at} needs a model, or an order of backends")
    return _complete(section)


def _complete(section: Section) -> Section:
    """Lay the defaults that depend on a backend's name and type under its section."""
    type_ = section.get("backend_type") or _type(section)
    model = DEFAULT_MODELS.get(section.name) or DEFAULT_MODELS.get(type_) or section.name
    values = {"enabled": True, "backend_type": type_, "model": model}
    defaults = layer({f"{section.label}.{key}": one for key, one in values.items()}, "default")
    return replace(section, settings=defaults | section.settings)


def _backend(section: Section) -> BackendConfig:
    """Return a backend's settings as its value."""
    get = section.get
    return BackendConfig(
        name=section.name,
        backend_type=get("backend_type"),
        model=get("model"),
        enabled=get("enabled"),
        api_key=get("api_key"),
        base_url=get("base_url"),
        openai_api_key=get("openai_api_key"),
        openai_base_url=get("openai_base_url"),
        temperature=get("temperature"),
        timeout_s=get("timeout"),
        max_retries=get("max_retries"),
        options=get("options", default=()) or (),
        options_for_noedit=get("options_for_noedit", default=()) or (),
        options_for_resume=get("options_for_resume", default=()) or (),
        providers=get("providers", default=()),
        model_provider=get("model_provider"),
        settings=get("settings"),
        usage_markers=get("usage_markers", default=()),
        usage_limit_retry_count=get("usage_limit_retry_count", default=0),
        usage_limit_retry_wait_s=get("usage_limit_retry_wait_seconds", default=0.0),
        always_switch_after_execution=get("always_switch_after_execution", default=False),
        command=get("command"),
        price_in=get("price_in"),
        price_out=get("price_out"),
        price_cached=get("price_cached"),
        price_cache_write=get("price_cache_write"),
        models=get("models", default=()),
    )


def _type(section: Section) -> str:
    """Tell a backend's type where the file does not say it."""
    if section.name in AGENTS:
        return section.name
    if section.get("command"):
        return "command"
    if section.get("base_url") or section.get("openai_base_url"):
        return "patch_worker"
    return section.name


def _primary(
    rotation: _Rotation, listed: Iterable[BackendConfig], kept: Sequence[str]
) -> list[str]:
    """Return the names of the primary rotation, the default at its head.

    Without an order it is every enabled backend but those kept for the fallback.
    """
    order = list(dict.fromkeys(rotation.order))
    if not order:
        order = [one.name for one in listed if one.enabled and one.name not in kept]
    if rotation.default is None:
        return order
    if rotation.default not in order:
        return [rotation.default, *order]
    start = order.index(rotation.default)
    return order[start:] + order[:start]


def _enabled(
    source: _Source, names: Iterable[str], by_name: Mapping[str, BackendConfig], section: str
) -> tuple[BackendConfig, ...]:
    """Return the backends that may work, in order; say which were left out."""
    chosen = [by_name[name] for name in dict.fromkeys(names)]
    source.warnings.extend(
        f"{source.file.where((section,))}: [{section}] names {one.name}, which is not enabled"
        for one in chosen
        if not one.enabled
    )
    return tuple(one for one in chosen if one.enabled)
