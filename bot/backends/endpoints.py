"""Where a backend's chat endpoint is, and with which key.

auto-coder's rule: `openai_api_key` and `openai_base_url` win over `api_key` and `base_url`. Where
the configuration names no address, the backend's type does, through the table below.
"""

from collections.abc import Mapping

from bot.config.schema import BackendConfig
from bot.domain.answers import Answer, Ending
from bot.domain.chat import Endpoint

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
_RETRIES = 2


def endpoint(config: BackendConfig) -> Endpoint | Answer:
    """Return the endpoint of a backend, or why it has none."""
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
        return Answer(Ending.AUTH, detail=f"backend {config.name} has no api_key")
    return Endpoint(
        base_url,
        key,
        max_retries=_RETRIES if config.max_retries is None else config.max_retries,
        usage_limit_retries=config.usage_limit_retry_count,
        usage_limit_wait_s=config.usage_limit_retry_wait_s,
    )
