"""The backends of `llm_config.toml`, and the two chains that the fix drain may use.

`[backend]` orders the primary rotation, its default at the head; without an order every enabled
backend takes part. `[backend_for_failed_pr]` is a chain of its own, either a backend by itself or
an order of existing ones, and never joins the primary rotation unasked. A backend with providers
has several ways to its model (`ways.py`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.config import autocoder, prices, providers, sections, shapes, ways
from bot.config.autocoder import AGENTS, INHERITED
from bot.config.document import Document, KeyPath
from bot.config.layers import Settings, layer
from bot.config.schema import BackendConfig
from bot.config.section import Section, borrowed, hidden
from bot.domain.errors import ConfigError
from bot.domain.models import PriceOf

DEFAULT_MODELS: Mapping[str, str] = {
    "auggie": "GPT-5",
    "claude": "sonnet",
    "gemini": "gemini-2.5-pro",
    "qwen": "qwen3-coder-plus",
}
DEFAULT_VARIABLE = "AUTO_CODER_DEFAULT_BACKEND"
OWN_VARIABLES = ("api_key", "openai_api_key", "openai_base_url")  # AUTO_CODER_<NAME>_<KEY>
# What auto-coder's examples leave for the reader to fill in.
_FILLED_IN = shapes.SECRET_KEYS | {"base_url", "openai_base_url"}
NOEDIT_VARIABLES = ("AUTO_CODER_NOEDIT_DEFAULT_BACKEND", "AUTO_CODER_MESSAGE_DEFAULT_BACKEND")
# Text that says nothing when it is empty: auto-coder's examples have `base_url = ""`.
BLANK = frozenset(
    {
        *("api_key", "backend_type", "base_url", "command", "model", "model_provider", "settings"),
        *("openai_api_key", "openai_base_url", "openrouter_api_key", "openrouter_base_url", "url"),
    }
)
SHARED_VARIABLES = ("openai_api_key", "openai_base_url")  # AUTO_CODER_<KEY>, weaker than the file


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends by name, the chains, who set what, and what is odd.

    `noedit` are those that auto-coder asks where nothing is edited, and `noedit_at` says where.
    """

    by_name: Mapping[str, BackendConfig]
    primary: tuple[BackendConfig, ...]
    fallback: tuple[BackendConfig, ...]
    noedit: tuple[BackendConfig, ...]
    noedit_at: str
    settings: Settings
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rotation:
    """`[backend]` with its variable laid over it."""

    default: str | None
    order: tuple[str, ...]
    settings: Settings


def read(file: Document, environ: Mapping[str, str], said: ways.Elsewhere) -> Backends:
    """Return the backends and chains of a file, or raise `ConfigError`.

    An agent that has no section is known by being mentioned, but joins no rotation.
    """
    source = ways.Source(file, environ, [], said)
    found = sections.find(file, source.warnings)
    rotation = _rotation(source, found)
    failed_at, failed = _failed(source)
    _known(found, failed.order, source.place(failed_at, "order"))
    listed = tuple(found)
    noedit_at, noedit = _noedit(source, found)
    for name, where in said.mentions:
        _known(found, [name], where)
    built = {
        name: _section(source, path, name, f"backends.{name}", shapes.BackendKeys)
        for name, path in found.items()
    }
    built = {name: _complete(_inherit(one, built)) for name, one in built.items()}
    settings = rotation.settings
    by_name: dict[str, BackendConfig] = {}
    for name, one in built.items():
        by_name[name], of_it = ways.reached(source, one, built)
        settings |= of_it
    order = _primary(rotation, [by_name[name] for name in listed], failed.order)
    primary = _enabled(source, order, by_name, "backend")
    fallback: tuple[BackendConfig, ...] = ()
    if failed.enabled and failed.order:
        fallback = _enabled(source, failed.order, by_name, failed_at)
    elif failed.enabled:
        inline, of_it = ways.reached(source, _inline(source, failed_at, failed, built), built)
        settings |= of_it
        fallback = (inline,)
    ways.unused(source, built)
    chosen = tuple(by_name[name] for name in noedit if not autocoder.idle(by_name[name]))
    return Backends(by_name, primary, fallback, chosen, noedit_at, settings, tuple(source.warnings))


def priced(found: Backends, price_list: tuple[PriceOf, ...]) -> Backends:
    """Return the same backends with the prices that the list has for their models."""
    by_name = {name: prices.priced(one, price_list) for name, one in found.by_name.items()}

    def same(one: BackendConfig) -> BackendConfig:
        """Return a backend of a chain: the one of that name, unless it is described by itself."""
        own = one is not found.by_name.get(one.name)
        return prices.priced(one, price_list) if own else by_name[one.name]

    chains = (found.primary, found.fallback, found.noedit)
    primary, fallback, noedit = (tuple(map(same, chain)) for chain in chains)
    return replace(found, by_name=by_name, primary=primary, fallback=fallback, noedit=noedit)


def _rotation(source: ways.Source, found: sections.Found) -> _Rotation:
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


def _failed(source: ways.Source) -> tuple[str, shapes.FallbackKeys]:
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


def _noedit(source: ways.Source, found: sections.Found) -> tuple[str, list[str]]:
    """Return where it is said who works without editing, and who; the default is at the head.

    auto-coder forgives names that it does not know, so these are only told.
    """
    section = next((one for one in shapes.NOEDIT_SECTIONS if one in source.file.values), "")
    if not section:
        return "", []
    values = shapes.table(source.file, (section,))
    keys = shapes.fit(source.file, (section,), values, shapes.OrderKeys)
    known = shapes.keys_of(shapes.OrderKeys)
    source.warnings.extend(shapes.unknown(source.file, (section,), values, known))
    variable = next((one for one in NOEDIT_VARIABLES if source.environ.get(one)), "")
    default = source.environ[variable] if variable else keys.default
    names = list(dict.fromkeys((*((default,) if default else ()), *keys.order)))
    strangers = [name for name in names if name not in found and name not in AGENTS]
    source.warnings.extend(
        f'{source.file.where((section,))}: [{section}] names "{name}", which has no section'
        f"{shapes.suggestion(name, {*found, *AGENTS})}"
        for name in strangers
    )
    names = [name for name in names if name not in strangers]
    _known(found, names, section)
    return f"{source.file.where((section,))}: [{section}]", names


def _known(found: sections.Found, names: Iterable[str], where: str) -> None:
    """Make sure that every name has a section; an agent needs none of its own."""
    for name in names:
        if name not in found and name not in AGENTS:
            near = shapes.suggestion(name, {*found, *AGENTS})
            raise ConfigError(f'{where} names "{name}", which has no section{near}')
        found.setdefault(name, ("backends", name))


def _section(
    source: ways.Source, path: KeyPath, name: str, label: str, shape: type[shapes.BackendKeys]
) -> Section:
    """Lay the shared variables, the file and the backend's own variables over each other."""
    values = sections.keys_at(source.file, path)
    keys = shapes.fit(source.file, path, values, shape)
    known = shapes.keys_of(shape)
    if shape is shapes.BackendKeys:  # the fallback's section was looked at before
        source.warnings.extend(shapes.unknown(source.file, path, values, known))
    said = {key: getattr(keys, key) for key in known if key in values}
    said = {key: one for key, one in said.items() if not _silent(key, one, said)}
    for key, value in said.items():
        if key in shapes.UNUSED_KEYS and value:
            source.warnings.append(f"{source.place(*path, key)} has no effect")
        elif key in _FILLED_IN and str(value).lower().startswith("your-"):
            kind = "a key" if key in shapes.SECRET_KEYS else "an address"
            source.warnings.append(f"{source.place(*path, key)} is a placeholder, not {kind}")
    in_file = layer(
        {f"{label}.{key}": hidden(key, value) for key, value in said.items()},
        {f"{label}.{key}": source.file.where((*path, key)) for key in said},
    )
    shared = _variables(source.environ, label, "AUTO_CODER", SHARED_VARIABLES)
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper())
    own = _variables(source.environ, label, f"AUTO_CODER_{variable}", OWN_VARIABLES)
    return Section(name, label, shared | in_file | own)


def _silent(key: str, value: Any, said: Mapping[str, Any]) -> bool:
    """Tell whether a key says nothing, although it is there."""
    saved_empty = value == () and said.get(f"{key}_explicitly_set") is False
    return key in shapes.WRITTEN_KEYS or (key in BLANK and value == "") or saved_empty


def _variables(
    environ: Mapping[str, str], label: str, prefix: str, keys: Iterable[str]
) -> Settings:
    """Return what the environment says for these keys of a backend."""
    variables = {key: f"{prefix}_{key.upper()}" for key in keys}
    said = {key: one for key, one in variables.items() if environ.get(one)}
    values = {f"{label}.{key}": hidden(key, environ[one]) for key, one in said.items()}
    return layer(values, {f"{label}.{key}": one for key, one in said.items()})


def _inherit(section: Section, others: Mapping[str, Section]) -> Section:
    """Take the options of the backend that `backend_type` names; lists of one's own block it."""
    parent = others.get(section.get("backend_type") or "")
    if parent is None or parent.name == section.name:
        return section
    theirs = {f"{section.label}.{key}": f"{parent.label}.{key}" for key in INHERITED}
    return replace(section, settings=borrowed(parent.settings, theirs) | section.settings)


def _inline(
    source: ways.Source, at: str, keys: shapes.FallbackKeys, others: Mapping[str, Section]
) -> Section:
    """Return the fallback that the section itself describes, over the backend that it names."""
    name = keys.name or at
    section = _section(source, (at,), name, at, shapes.FallbackKeys)
    if (base := others.get(name)) is not None:
        keep = {
            f"{at}.{key}": key for key in shapes.keys_of(shapes.BackendKeys) if key != "enabled"
        }
        theirs = {label: f"{base.label}.{key}" for label, key in keep.items()}
        under = borrowed(base.settings, theirs)
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
    ours = {f"openai_{key}": f"openrouter_{key}" for key in ("api_key", "base_url")}
    openrouter = borrowed(
        section.settings,
        {f"{section.label}.{own}": f"{section.label}.{theirs}" for own, theirs in ours.items()},
    )
    if openrouter.said:
        values["openai_base_url"] = providers.OPENROUTER
    defaults = layer({f"{section.label}.{key}": one for key, one in values.items()}, "default")
    return replace(section, settings=defaults | openrouter | section.settings)


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
    source: ways.Source, names: Iterable[str], by_name: Mapping[str, BackendConfig], section: str
) -> tuple[BackendConfig, ...]:
    """Return the backends that may work, in order; say which were left out."""
    chosen = [by_name[name] for name in dict.fromkeys(names)]
    source.warnings.extend(
        f"{source.file.where((section,))}: [{section}] names {one.name}, which {why}"
        for one in chosen
        if (why := autocoder.idle(one))
    )
    return tuple(one for one in chosen if not autocoder.idle(one))
