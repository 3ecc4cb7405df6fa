"""What is configured, for people: each lane of a backend, its jobs, its key and its address.

Never a key: only who set it. An address is told without the name and password that it may hold.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from bot.backends import endpoints
from bot.backends.registry import kind
from bot.config import providers
from bot.config.layers import Settings
from bot.config.schema import BackendConfig, Configuration
from bot.config.sections import FALLBACK_SECTIONS
from bot.domain.answers import Answer
from bot.domain.models import Api, Grant, Origin
from bot.domain.values import PullRef

_NOBODY = Origin("", 0, PullRef("", 0), "", "")


@dataclass(frozen=True, slots=True)
class Entry:
    """A lane: a backend as one of its providers reaches it, "" where it has none.

    A backend is there once for each tier that has settings of its own for it. `label` is its
    section. `grant` is what it may call, None for one that calls no model; `lacks` says what keeps
    it from that.
    """

    name: str
    provider: str
    label: str
    kind: str
    config: BackendConfig
    fallback: bool
    jobs: tuple[str, ...]
    grant: Grant | None
    lacks: str
    key: str

    @property
    def title(self) -> str:
        """What it is called where both tiers are listed."""
        return f"{self.lane} (fallback)" if self.fallback else self.lane

    @property
    def lane(self) -> str:
        """The backend, and the provider if it has any."""
        return f"{self.name}/{self.provider}" if self.provider else self.name

    @property
    def place(self) -> str:
        """Where its settings stand."""
        own = f" or its {_described(self.config)}" if self.provider else ""
        return f"[{self.label}]{own}"

    @property
    def address(self) -> str:
        """The endpoint, without a password."""
        return bare(self.grant.base_url) if self.grant else ""


def entries(found: Configuration, settings: Settings) -> tuple[Entry, ...]:
    """Return all lanes in the file's order, then those of a fallback with a section of its own."""
    jobs = _jobs(found)
    made = [
        _entry(settings, way, f"backends.{name}", jobs.get(name, ()))
        for name, config in found.backends.items()
        for way in _ways(config)
    ]
    own = [one for one in found.fallback if found.backends.get(one.name) is not one]
    for config in own:
        label = next((one for one in FALLBACK_SECTIONS if f"{one}.model" in settings), "")
        made += [
            _entry(settings, way, label, ("fallback 1",), fallback=True) for way in _ways(config)
        ]
    return tuple(made)


def bare(url: str) -> str:
    """Return an address without its name, password and query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "malformed"


def _ways(config: BackendConfig) -> Iterator[BackendConfig]:
    """Yield a backend through each of its providers, or itself."""
    for provider in config.providers or ("",):
        if (way := config.through(provider)) is not None:
            yield way


def _entry(
    settings: Settings,
    config: BackendConfig,
    label: str,
    jobs: Sequence[str],
    *,
    fallback: bool = False,
) -> Entry:
    type_ = kind(config)
    calls = type_ == "patch_worker" or type_ in endpoints.AGENTS
    way = endpoints.grant(config, type_, _NOBODY, Configuration()) if calls else None
    lacks = way.detail if isinstance(way, Answer) else ""
    return Entry(
        config.name,
        config.provider,
        label,
        type_,
        config,
        fallback,
        tuple(jobs),
        None if isinstance(way, Answer) else way,
        lacks,
        _key(config, type_, label, settings) if calls else "",
    )


def _jobs(found: Configuration) -> Mapping[str, list[str]]:
    """Return for each backend which jobs it has, and its place in them."""
    jobs: dict[str, list[str]] = {}
    for name, job in _work(found):
        jobs.setdefault(name, []).append(job)
    return jobs


def _work(found: Configuration) -> Iterator[tuple[str, str]]:
    policy = found.policy
    chains = {
        "primary": policy.primary,
        "planning": policy.planners,
        "analysis": policy.analysts,
    }
    for job, names in chains.items():
        for place, one in enumerate(names, 1):
            yield one.name, f"{job} {place}"
    if len(policy.planners) > 1:
        yield policy.planning.synthesis, "synthesis"
    for drain, chain in found.drains.chains.items():
        for place, one in enumerate(chain.backends, 1):
            yield one.name, f"drain {drain} ({chain.name} {place})"
    for place, config in enumerate(found.fallback, 1):
        if found.backends.get(config.name) is config:
            yield config.name, f"fallback {place}"
    for task, name in policy.routing.tasks.items():
        yield name, f"task {task}"


def _described(config: BackendConfig) -> str:
    return f"[{config.name}.{config.provider}] of {providers.FILE}"


def _key(config: BackendConfig, type_: str, label: str, settings: Settings) -> str:
    """Say where the key comes from, or how to set it."""
    openai = type_ == "patch_worker" or endpoints.AGENTS[type_][0] is Api.OPENAI
    names = ("openai_api_key", "api_key") if openai else ("api_key",)
    own = f"providers.{config.name}.{config.provider}"
    for name in names:
        if getattr(config, name) is not None:
            said = next(one for one in (f"{own}.{name}", f"{label}.{name}") if one in settings)
            return f"set by {settings.origin(said)}"
    variable = re.sub(r"[^A-Z0-9]", "_", config.name.upper())
    how = f"AUTO_CODER_{variable}_API_KEY, or api_key in [{label}]"
    if config.provider:
        how = f"api_key in [{label}] or its {_described(config)}"
    if config.base_url or (openai and config.openai_base_url):
        return f"none, which the endpoint may allow; {how} sets one"
    return f"not set: set {how}"
