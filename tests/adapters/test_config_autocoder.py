"""auto-coder's files work unchanged: every shape that its examples, documents and tests have.

The files are written anew here, with the same sections and keys. Each row says what its backends
come to, who works and who takes over; each must load, and without an unknown key.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bot.config import load
from bot.config.schema import Strategy
from bot.domain.values import Secret
from tests.support.autocoder import FALLBACK_EXAMPLE

ROUTER = "https://openrouter.ai/api/v1"


@dataclass(frozen=True)
class Shape:
    """A file, its surroundings, and what it comes to.

    `backends` holds fields by backend, `told` parts of warnings; `primary`, `fallback` and
    `planners` are names, None where the row does not care.
    """

    text: str
    backends: dict[str, dict[str, Any]] = field(default_factory=dict)
    primary: list[str] | None = None
    fallback: list[str] | None = None
    planners: list[str] | None = None
    told: tuple[str, ...] = ()
    metadata: str = ""
    environ: dict[str, str] = field(default_factory=dict)


EXAMPLE = Shape(  # docs/: two orders, six backends
    """
    [backend]
    default = "gemini"
    order = ["gemini", "qwen", "auggie", "claude", "codex", "codex-mcp"]
    [message_backend]
    default = "qwen"
    order = ["qwen", "gemini"]
    [backends.gemini]
    enabled = true
    model = "gemini-2.5-pro"
    api_key = "your-gemini-key"
    [backends.qwen]
    enabled = true
    model = "qwen3-coder-plus"
    openai_api_key = "your-key"
    openai_base_url = "https://api.example.com/v1"
    [backends.auggie]
    enabled = true
    model = "GPT-5"
    [backends.claude]
    model = "sonnet"
    [backends.codex]
    model = "codex"
    [backends.codex-mcp]
    model = "codex-mcp"
    [planning]
    enabled = true
    """,
    {
        "gemini": {"model": "gemini-2.5-pro", "api_key": Secret("your-gemini-key")},
        "qwen": {"openai_base_url": "https://api.example.com/v1", "backend_type": "qwen"},
        "codex-mcp": {"backend_type": "codex", "model": "codex-mcp"},
    },
    primary=["gemini", "qwen", "claude", "codex", "codex-mcp"],
    fallback=[],
    planners=["qwen"],
    told=("names auggie, which does not run here", "gemini.api_key is a placeholder"),
)
TOP_LEVEL = Shape(  # docs/, another version: an empty [backends], then sections of their own
    """
    [backend]
    default = "qwen"
    order = ["qwen", "gemini", "codex", "claude"]
    [backends]
    [qwen]
    enabled = true
    model = "qwen3-coder-plus"
    options = []
    backend_type = "qwen"
    [gemini]
    enabled = true
    model = "gemini-2.5-pro"
    api_key = "k"
    base_url = "https://generativelanguage.googleapis.com"
    usage_limit_retry_count = 3
    usage_limit_retry_wait_seconds = 30
    always_switch_after_execution = true
    backend_type = "gemini"
    [codex]
    model = "codex"
    api_key = "k"
    base_url = "your-api-base-url-here"
    openai_api_key = "wins"
    openai_base_url = "https://wins.example/v1"
    options = []
    backend_type = "codex"
    [openrouter-grok]
    model = "groq/llama3-8b-8192"
    backend_type = "codex"
    openai_api_key = "sk-or"
    openai_base_url = "https://openrouter.ai/api/v1"
    options = ["-o", "HTTPReferer", "https://yourapp.example", "-o", "XTitle", "Mine"]
    [qwen-fast]
    model = "qwen-turbo"
    backend_type = "qwen"
    options = ["-o", "timeout", "30", "-o", "stream", "true"]
    """,
    {
        "gemini": {"usage_limit_retry_count": 3, "usage_limit_retry_wait_s": 30.0},
        "codex": {"openai_api_key": Secret("wins"), "backend_type": "codex"},
        "openrouter-grok": {"options": (), "openai_base_url": ROUTER},
        "qwen-fast": {"options": (), "model": "qwen-turbo"},
    },
    primary=["qwen", "gemini", "codex", "claude"],
    told=(
        'openrouter-grok.options holds "-o KEY VALUE", which codex does not know',
        'qwen-fast.options holds "-o KEY VALUE", which qwen does not know',
        "always_switch_after_execution holds for all of the rotation",
        "codex.base_url is a placeholder, not an address",
    ),
)
FALLBACK = Shape(  # examples/: placeholders, aliases, settings, both kinds of options
    FALLBACK_EXAMPLE,
    {
        "MiniMax-M2": {"settings": "/home/user/minimax/settings.json", "backend_type": "claude"},
        "qwen-openrouter": {"model_provider": "openrouter", "model": "qwen/qwen3-coder:free"},
        "claude-custom": {
            "enabled": False,
            "options_for_noedit": (
                *("--print", "--model", "[model_name]"),
                *("--output-format", "stream-json", "--verbose"),
            ),
        },
    },
    primary=["codex", "gemini", "qwen", "claude"],
    fallback=["gemini-fallback"],
    told=(
        "[backend_for_noedit] has no effect while [planning] is not enabled",
        "temperature has no effect: gemini sets its own",
    ),
)
SHAPES: dict[str, Shape] = {
    "the example": EXAMPLE,
    "backends at the top level": TOP_LEVEL,
    "the example with a fallback": replace(
        FALLBACK, text=FALLBACK.text.replace("SECTION", "backend_for_failed_pr")
    ),
    "the same by the newer name": replace(
        FALLBACK, text=FALLBACK.text.replace("SECTION", "backend_with_high_score")
    ),
    "the readme's: what is not set is empty": Shape(
        """
        version = "1.0.0"
        created_at = "2023-01-01T00:00:00"
        updated_at = "2023-01-01T00:00:00"
        [backend]
        order = ["gemini", "codex"]
        default = "gemini"
        [backends.codex]
        api_key = ""
        base_url = ""
        model = "codex"
        timeout = 30
        max_retries = 3
        usage_limit_retry_count = 0
        usage_limit_retry_wait_seconds = 0
        [backends.codex_mcp]
        api_key = ""
        base_url = ""
        model = "codex-mcp"
        [backends.gemini]
        api_key = "k"
        base_url = ""
        model = "gemini-2.5-pro"
        """,
        {
            "codex": {"api_key": None, "base_url": None, "timeout_s": 30.0, "max_retries": 3},
            "codex_mcp": {"backend_type": "codex", "model": "codex_mcp"},
            "gemini": {"api_key": Secret("k"), "base_url": None},
        },
        primary=["gemini", "codex"],
    ),
    "as it saves one itself": Shape(
        """
        [backend]
        order = []
        default = "codex"
        [backend_for_noedit]
        order = []
        default = "codex"
        [backends.codex]
        enabled = true
        extra_args = {}
        attempts = 1
        providers = []
        usage_limit_retry_count = 0
        options = ["--yolo"]
        options_for_noedit = []
        options_for_resume = []
        always_switch_after_execution = false
        usage_markers = []
        options_explicitly_set = true
        options_for_noedit_explicitly_set = false
        [backends.mine]
        backend_type = "codex"
        options = []
        options_explicitly_set = false
        """,
        {"codex": {"options": ("--yolo",)}, "mine": {"options": ("--yolo",)}},
        primary=["codex", "mine"],
        told=("attempts has no effect", "[backend_for_noedit] has no effect while"),
    ),
    "names with dots, nested": Shape(
        """
        [grok-4.1-fast]
        enabled = true
        model = "x-ai/grok-4.1-fast:free"
        backend_type = "codex"
        openai_base_url = "https://openrouter.ai/api/v1"
        [deepseek.coder.v2]
        enabled = true
        backend_type = "codex"
        [backends.kimi-k2.5]
        model = "kimi"
        backend_type = "claude"
        [backends."qwen-2.5"]
        model = "q"
        backend_type = "codex"
        """,
        {
            "grok-4.1-fast": {"model": "x-ai/grok-4.1-fast:free", "openai_base_url": ROUTER},
            "deepseek.coder.v2": {"backend_type": "codex"},
            "kimi-k2.5": {"backend_type": "claude"},
            "qwen-2.5": {"model": "q"},
        },
        primary=["kimi-k2.5", "qwen-2.5", "grok-4.1-fast", "deepseek.coder.v2"],
    ),
    "options are inherited, and an empty list blocks it": Shape(
        """
        [backends.codex]
        options = ["-a"]
        options_for_noedit = ["-b"]
        options_for_resume = ["-c"]
        [backends.both]
        backend_type = "codex"
        [backends.neither]
        backend_type = "codex"
        options = []
        options_for_noedit = []
        """,
        {
            "both": {
                "options": ("-a",),
                "options_for_noedit": ("-b",),
                "options_for_resume": (),
            },
            "neither": {"options": (), "options_for_noedit": ()},
        },
    ),
    "usage markers, plain and JSON": Shape(
        """
        [backends.codex]
        usage_markers = ["quota is gone", '{"type": "limit"}', {type = "error", status = 429}]
        """,
        {
            "codex": {
                "usage_markers": (
                    *("quota is gone", '{"type": "limit"}'),
                    {"type": "error", "status": 429},
                )
            }
        },
    ),
    "providers": Shape(
        """
        [backend]
        default = "qwen"
        order = ["qwen"]
        [backends.qwen]
        model = "qwen3-coder-plus"
        providers = ["qwen-open-router", "qwen-azure", "qwen-direct"]
        temperature = 0.7
        """,
        {"qwen": {"providers": ("qwen-open-router", "qwen-azure", "qwen-direct")}},
        primary=["qwen"],
        told=("command has no effect", "args has no effect", "temperature has no effect"),
        metadata="""
        [qwen.qwen-open-router]
        command = "uvx"
        args = ["a-proxy"]
        description = "by OpenRouter"
        OPENROUTER_API_KEY = "k1"
        [qwen.qwen-azure]
        description = "by Azure"
        AZURE_ENDPOINT = "https://azure.example"
        AZURE_API_VERSION = "2024-02-15-preview"
        AZURE_API_KEY = "${AZURE_API_KEY}"
        [qwen-direct]
        QWEN_API_KEY = "k3"
        base_url = "https://direct.example/v1"
        model = "qwen-max"
        """,
        environ={"AZURE_API_KEY": "k2"},
    ),
    "providers without a description of them": Shape(
        """
        [backends.qwen]
        providers = ["qwen-open-router"]
        [backends.qwen.extra_args]
        AZURE_ENDPOINT = "https://llm.example"
        QWEN_API_KEY = "example-key"
        """,
        {"qwen": {"providers": ("qwen-open-router",)}},
        told=("which provider_metadata.toml does not describe", "extra_args has no effect"),
    ),
    "variables": Shape(
        """
        [backends.gemini]
        api_key = "original"
        [backends.grok-4]
        backend_type = "codex"
        openai_api_key = "file"
        [backends.qwen]
        [backend_for_noedit]
        [planning]
        enabled = true
        """,
        {
            "gemini": {"api_key": Secret("own"), "openai_api_key": Secret("shared")},
            "grok-4": {"openai_api_key": Secret("grok"), "openai_base_url": "https://s.example"},
        },
        primary=["qwen", "gemini", "grok-4"],
        planners=["gemini"],
        environ={
            "AUTO_CODER_GEMINI_API_KEY": "own",
            "AUTO_CODER_OPENAI_API_KEY": "shared",
            "AUTO_CODER_OPENAI_BASE_URL": "https://s.example",
            "AUTO_CODER_GROK_4_OPENAI_API_KEY": "grok",
            "AUTO_CODER_DEFAULT_BACKEND": "qwen",
            "AUTO_CODER_MESSAGE_DEFAULT_BACKEND": "gemini",
        },
    ),
    "OpenRouter's own keys": Shape(
        """
        [backends.free]
        backend_type = "codex"
        model = "x:free"
        openrouter_api_key = "sk-or"
        """,
        {"free": {"openai_api_key": Secret("sk-or"), "openai_base_url": ROUTER}},
        primary=["free"],
    ),
    "services in the cloud": Shape(
        """
        [backend]
        order = ["jules", "antigravity", "cloud", "routine", "claude"]
        [backends.jules]
        enabled = true
        backend_type = "jules"
        [backends.cloud]
        backend_type = "codex-cloud"
        environment_id = "e"
        attempts = 2
        [backends.routine]
        backend_type = "claude-routine"
        url = "https://routine.example"
        claude_code_routine_token = "t"
        [backends.claude]
        claude_code_oauth_token = "t"
        [backend_cloud]
        order = ["cloud"]
        """,
        primary=["claude"],
        told=(
            "names jules, which does not run here",
            "names antigravity, which does not run here",
            "names cloud, which does not run here",
            "names routine, which does not run here",
            "environment_id has no effect",
            "claude_code_oauth_token has no effect",
            "[backend_cloud] has no effect",
        ),
    ),
    "an order for the fallback": Shape(
        """
        [backend]
        order = ["codex"]
        [backends.codex]
        [backends.claude]
        [backends.gemini]
        [backend_for_failed_pr]
        order = ["claude", "gemini"]
        model = "ignored"
        """,
        primary=["codex"],
        fallback=["claude", "gemini"],
    ),
}


@pytest.fixture
def read(tmp_path):
    def read(shape: Shape):
        path = tmp_path / "llm_config.toml"
        path.write_text(shape.text, encoding="utf-8")
        if shape.metadata:
            (tmp_path / "provider_metadata.toml").write_text(shape.metadata, encoding="utf-8")
        return load.configuration(path, shape.environ)

    return read


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_loads_and_comes_to_what_is_documented(read, shape):
    found = read(shape)
    for name, fields in shape.backends.items():
        backend = found.backends[name]
        assert {key: getattr(backend, key) for key in fields} == fields, name
    chains = {
        "primary": found.policy.primary,
        "fallback": found.policy.fallback,
        "planners": found.policy.planners,
    }
    for key, chain in chains.items():
        if (wanted := getattr(shape, key)) is not None:
            assert [one.name for one in chain] == wanted, key
    for part in shape.told:
        assert any(part in one for one in found.warnings), part
    assert not [one for one in found.warnings if "is not known" in one]


def test_the_examples_rotation_takes_turns(read):
    assert read(TOP_LEVEL).policy.routing.strategy is Strategy.ROUND_ROBIN


def test_the_providers_of_the_example_are_reached_by_their_own_keys(read):
    ways = read(SHAPES["providers"]).backends["qwen"].ways
    assert {
        name: (way.openai_base_url or way.base_url, way.openai_api_key or way.api_key, way.model)
        for name, way in ways.items()
    } == {
        "qwen-open-router": (ROUTER, Secret("k1"), "qwen3-coder-plus"),
        "qwen-azure": ("https://azure.example", Secret("k2"), "qwen3-coder-plus"),
        "qwen-direct": ("https://direct.example/v1", Secret("k3"), "qwen-max"),
    }


@pytest.mark.parametrize("variable", ["AUTO_CODER_CONFIG_PATH", "AUTO_CODER_LLM_CONFIG_PATH"])
def test_its_variables_name_the_file(tmp_path, variable):
    path = tmp_path / "elsewhere.toml"
    path.write_text("[backends.codex]\n")
    assert load.configuration(None, {variable: str(path)}).source == path
    other = tmp_path / "ours.toml"
    other.write_text("[backends.claude]\n")
    environ = {variable: str(path), "REGREEN_CONFIG": str(other)}
    assert load.configuration(None, environ).source == other
