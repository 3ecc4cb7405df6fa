"""Where a backend's chat endpoint is, and with which key.

auto-coder's rule: `openai_api_key` and `openai_base_url` win over `api_key` and `base_url`. Where
the configuration names no address, the backend's type does, through the tables below. An agent is
told no key and no address but the gateway's, which holds both as its grant.
"""

from collections.abc import Mapping
from pathlib import Path

from bot.backends.base import RETRIES
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Answer, Ending
from bot.domain.chat import Endpoint
from bot.domain.models import Api, Grant, Origin
from bot.domain.values import Secret

_OPENAI = "https://api.openai.com/v1"  # https://platform.openai.com/docs/api-reference/chat
_ANTHROPIC = "https://api.anthropic.com/v1"  # https://docs.claude.com/en/api/openai-sdk
# https://ai.google.dev/gemini-api/docs/openai
_GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
# https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope
_QWEN = "https://dashscope.aliyuncs.com/compatible-mode/v1"
_OPENROUTER = "https://openrouter.ai/api/v1"  # https://openrouter.ai/docs/quickstart

BASE_URLS: Mapping[str, str] = {
    "anthropic": _ANTHROPIC,
    "claude": _ANTHROPIC,
    "codex": _OPENAI,
    "gemini": _GEMINI,
    "openai": _OPENAI,
    "openrouter": _OPENROUTER,
    "qwen": _QWEN,
}
# What each agent speaks, and the address that its own command line would call.
AGENTS: Mapping[str, tuple[Api, str]] = {
    "aider": (Api.OPENAI, _OPENAI),
    "claude": (Api.ANTHROPIC, "https://api.anthropic.com"),
    "codex": (Api.OPENAI, _OPENAI),
    "gemini": (Api.GEMINI, "https://generativelanguage.googleapis.com"),
    "opencode": (Api.OPENAI, _OPENAI),
    "qwen": (Api.OPENAI, _QWEN),
}


# A host that nobody looks up: with a socket the calls go there.
_GATEWAY = "http://gateway/v1"


def endpoint(config: BackendConfig, socket: Path | None = None) -> Endpoint | Answer:
    """Return the chat endpoint of a backend, through the gateway's *socket* where there is one.

    Without an address or a key it returns why there is none.
    """
    default = BASE_URLS.get(config.backend_type) or BASE_URLS.get(config.name)
    own = config.openai_base_url or config.base_url
    key = config.openai_api_key or config.api_key
    base_url = own or default
    if base_url is None:
        return Answer(
            Ending.NOT_FOUND,
            detail=f"backend {config.name}: no endpoint is known for type "
            f"{config.backend_type!r}; set base_url or command",
        )
    if key is None and own is None:
        return _keyless(config)
    return Endpoint(
        base_url if socket is None else _GATEWAY,
        key if socket is None else None,
        max_retries=RETRIES if config.max_retries is None else config.max_retries,
        usage_limit_retries=config.usage_limit_retry_count,
        usage_limit_wait_s=config.usage_limit_retry_wait_s,
        socket=socket,
    )


def grant(config: BackendConfig, kind: str, origin: Origin, whole: Configuration) -> Grant | Answer:
    """Return what a backend of that kind may call through the gateway, or why it may not."""
    where = _address(config, kind)
    if isinstance(where, Answer):
        return where
    return Grant(
        origin,
        *where,
        config.own_price,
        whole.budget,
        config.models,
        model=config.model,
        prices=whole.prices,
    )


def _address(config: BackendConfig, kind: str) -> tuple[Api, str, Secret | None] | Answer:
    """Return a backend's API, its base URL and its key, or why it has none."""
    if kind not in AGENTS:
        where = endpoint(config)
        return where if isinstance(where, Answer) else (Api.OPENAI, where.base_url, where.key)
    api, default = AGENTS[kind]
    openai = api is Api.OPENAI
    own = (config.openai_base_url if openai else None) or config.base_url
    key = (config.openai_api_key if openai else None) or config.api_key
    if key is None and own is None:
        return _keyless(config)
    return api, own or default, key


def _keyless(config: BackendConfig) -> Answer:
    return Answer(Ending.AUTH, detail=f"backend {config.name} has no api_key")
