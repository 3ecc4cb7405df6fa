"""The ways to a backend's model: its providers, and the flags of `provider_fallback`.

Each way is the whole backend with what is different there, so that whoever runs one need not know
of providers.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bot.config import autocoder, providers, shapes
from bot.config.document import Document, KeyPath
from bot.config.layers import Settings, layer
from bot.config.schema import BackendConfig
from bot.config.section import Section, borrowed, config_of, hidden
from bot.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is said of backends outside their sections.

    `mentions` are backends that other sections name, each with the place where it does, `flags` the
    flags of `provider_fallback` by backend.
    """

    mentions: Iterable[tuple[str, str]] = ()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: providers.Metadata = providers.NONE


@dataclass(frozen=True, slots=True)
class Source:
    """What is read, and the warnings that gather meanwhile; `used` is of the metadata."""

    file: Document
    environ: Mapping[str, str]
    warnings: list[str]
    said: Elsewhere
    used: set[KeyPath] = field(default_factory=set)

    def place(self, *path: str) -> str:
        """Return how errors name a key: file, line and dotted key."""
        return f"{self.file.where(path)}: {'.'.join(path)}"


def reached(
    source: Source, section: Section, others: Mapping[str, Section]
) -> tuple[BackendConfig, Settings]:
    """Return a backend with all the ways to its model, and all that was said of it."""
    config = _sound(source, section, config_of(section))
    settings = section.settings
    ways: dict[str, BackendConfig] = {}
    for name in _providers(source, section, others):
        way = _way(source, section, name)
        settings |= way.settings
        whole = config_of(replace(way, settings=_under(section, way) | way.settings))
        ways[name] = replace(_sound(source, section, whole), provider=name)
    for flags in source.said.flags.get(section.name, ()):
        name, way_by_flags = _by_flags(source, config, flags)
        ways[name] = way_by_flags
    return replace(config, providers=tuple(ways), ways=ways), settings


def _providers(source: Source, section: Section, others: Mapping[str, Section]) -> tuple[str, ...]:
    """Return the providers that a backend lists; without a list, all that are described for it."""
    listed = section.get("providers")
    if listed is None:
        return source.said.metadata.of(section.name, others)
    return tuple(dict.fromkeys(listed))


def _way(source: Source, section: Section, name: str) -> Section:
    """Return what a provider says, as a section of its own."""
    label = f"providers.{section.name}.{name}"
    metadata = source.said.metadata
    owners = (section.name, section.get("backend_type"))
    path = metadata.place((*(f"{owner}.{name}" for owner in owners), name))
    if path is None:
        near = shapes.suggestion(name, metadata.of(section.name, owners))
        source.warnings.append(
            f"{section.settings.origin(f'{section.label}.providers')}: {section.label}.providers"
            f' names "{name}", which {providers.FILE} does not describe: it is the backend as it'
            f" stands{near}"
        )
        return Section(section.name, label, Settings())
    source.used.add(path)
    found = providers.read(metadata, path, source.environ, source.warnings)
    said = layer(
        {f"{label}.{key}": hidden(key, one) for key, one in found.values.items()},
        {f"{label}.{key}": one for key, one in found.places.items()},
    )
    return Section(section.name, label, said)


def _under(section: Section, way: Section) -> Settings:
    """Return what a provider takes over from its backend.

    A key or an address of its own replaces both of the backend's, whichever way they are written;
    and a key is not sent to an address that it was not given for.
    """
    own = {
        key
        for key in (*providers.KEYS, *providers.ADDRESSES)
        if f"{way.label}.{key}" in way.settings
    }
    left = providers.KEYS if own else frozenset()
    left |= providers.ADDRESSES if own & providers.ADDRESSES else frozenset()
    keys = set(shapes.keys_of(shapes.BackendKeys)) - left
    theirs = {f"{way.label}.{key}": f"{section.label}.{key}" for key in sorted(keys)}
    return borrowed(section.settings, theirs)


def _by_flags(source: Source, config: BackendConfig, flags: str) -> tuple[str, BackendConfig]:
    """Return a backend as flags of `provider_fallback` change it, by the model that they name."""
    try:
        words = shlex.split(flags)
    except ValueError as error:
        path = ("agent_chain", "provider_fallback", config.name)
        raise ConfigError(f"{source.place(*path)} cannot be read: {flags!r}: {error}") from error
    model, rest = "", []
    at = iter(words)
    for word in at:
        flag, equals, value = word.partition("=")
        if flag in {"-m", "--model"}:
            model = value if equals else next(at, "")
        else:
            rest.append(word)
    noedit = config.options_for_noedit
    return model or flags, replace(
        config,
        provider=model or flags,
        model=model or config.model,
        options=(*config.options, *rest),
        options_for_noedit=(*noedit, *rest) if noedit else (),
    )


def unused(source: Source, backends: Iterable[str]) -> None:
    """Say which providers nobody uses."""
    metadata = source.said.metadata
    for name, path in metadata.paths.items():
        if path not in source.used:
            near = shapes.suggestion(path[0], backends) if path[0] not in backends else ""
            source.warnings.append(
                f"{metadata.file.where(path)}: [{name}] has no effect: no backend has it among its"
                f" providers{near}"
            )


def _sound(source: Source, section: Section, config: BackendConfig) -> BackendConfig:
    """Return a backend without the options that its agent does not know; say what is left out."""
    told = []
    lists = {}
    for key in (*autocoder.INHERITED, "options_for_resume"):
        lists[key], whole = autocoder.options(config.backend_type, getattr(config, key))
        if not whole:
            told.append(
                f"{section.settings.origin(f'{section.label}.{key}')}: {section.label}.{key} holds"
                f' "-o KEY VALUE", which {config.backend_type} does not know: it has no effect'
            )
    if config.temperature is not None and config.backend_type in autocoder.AGENTS:
        where = section.settings.origin(f"{section.label}.temperature")
        told.append(
            f"{where}: {section.label}.temperature has no effect:"
            f" {config.backend_type} sets its own"
        )
    source.warnings.extend(told)
    return replace(
        config,
        options=lists["options"],
        options_for_noedit=lists["options_for_noedit"],
        options_for_resume=lists["options_for_resume"],
    )
