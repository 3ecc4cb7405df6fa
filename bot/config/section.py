"""One backend's settings, layer over layer, and the value that they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.config import autocoder, shapes
from bot.config.layers import Settings, layer
from bot.config.schema import BackendConfig
from bot.domain.values import Secret


@dataclass(frozen=True, slots=True)
class Section:
    """One backend as the layers leave it; `label` is what settings call its section."""

    name: str
    label: str
    settings: Settings

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        return self.settings.value(f"{self.label}.{key}", default)


def hidden(key: str, value: Any) -> Any:
    """Return a value, a secret as one that does not show."""
    return Secret(value) if key in shapes.SECRET_KEYS else value


def borrowed(settings: Settings, keys: Mapping[str, str]) -> Settings:
    """Return those of *settings* that were said, under the keys that *keys* gives them."""
    said = {own: theirs for own, theirs in keys.items() if theirs in settings}
    return layer(
        {own: settings.value(theirs) for own, theirs in said.items()},
        {own: f"{settings.origin(theirs)} ({theirs})" for own, theirs in said.items()},
    )


def config_of(section: Section) -> BackendConfig:
    """Return a backend's settings as its value."""
    get = section.get
    return BackendConfig(
        name=section.name,
        backend_type=autocoder.TYPES.get(get("backend_type"), get("backend_type")),
        model=section.name if get("model") in autocoder.TYPES else get("model"),
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
        env=get("env", default={}),
    )
