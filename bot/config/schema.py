"""Settings as frozen values.

`Policy` is what decisions read; it holds no secret, so a pass can carry its own copy from beginning
to end. `BackendConfig` and `Server` hold secrets and stay in the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from bot.domain.models import Caps, Price
from bot.domain.values import FailurePattern, FailureType, Secret, Value

DEFAULT_RETRIES: Mapping[str, int] = {
    FailureType.TRANSIENT: 3,
    FailureType.INFRA: 2,
    FailureType.RUNTIME: 1,
    FailureType.RATE_LIMIT: 3,
    FailureType.UNKNOWN: 2,
}
DEFAULT_MULTIPLIERS: Mapping[str, float] = {
    FailureType.TRANSIENT: 2.0,
    FailureType.INFRA: 1.5,
    FailureType.RUNTIME: 1.0,
    FailureType.RATE_LIMIT: 2.0,
    FailureType.UNKNOWN: 1.5,
}


class RetryPolicy(Value, frozen=True):
    """How often and when to try again (seed 4's table, seed 1's backoff); delays are seconds.

    `per_step_attempts` counts for each backend tier, so three primary and three fallback attempts
    fit into `total_attempts`.
    """

    retries: dict[str, int] = msgspec.field(default_factory=lambda: dict(DEFAULT_RETRIES))
    multipliers: dict[str, float] = msgspec.field(default_factory=lambda: dict(DEFAULT_MULTIPLIERS))
    base_s: float = 1.0
    cap_s: float = 60.0
    total_attempts: int = 6
    per_step_attempts: int = 3
    rejected_base_s: float = 10.0
    rejected_cap_s: float = 600.0
    jitter: bool = True
    same_error: int = 3
    same_diff: int = 3


class GuardPolicy(Value, frozen=True):
    """What a patch may touch; `protected` are glob patterns matched without regard to case."""

    max_files: int = 25
    max_lines: int = 1500
    protected: tuple[str, ...] = (
        ".github/**",
        "**/CODEOWNERS",
        "autocoder.yaml",
        "llm_config.toml",
        ".claude/**",
        ".codex/**",
        ".gemini/**",
        ".qwen/**",
        ".opencode/**",
        ".mcp.json",
        "**/AGENTS.md",
        "**/CLAUDE.md",
        "**/GEMINI.md",
    )


class BackendName(Value, frozen=True):
    """A backend as decisions see it: its name and the model that it would use."""

    name: str
    model: str


class Strategy(StrEnum):
    """How lanes are ordered (seed 3)."""

    PRIMARY_SECONDARY = "primary_secondary"
    INTELLIGENT = "intelligent_primary_secondary"
    ROUND_ROBIN = "round_robin"
    PERFORMANCE = "performance"
    TASK_SPECIFIC = "task_specific"
    COST = "cost"


class Lane(Value, frozen=True):
    """One way to get work done: a backend with one of its providers. Health is kept for each.

    `key` names the lane's health; `host` is what it shares with lanes that fail together with it;
    `price_usd` is what a call of ordinary size costs, None when no price is known; `weight`
    multiplies its health where lanes are compared; `probed` tells whether it can be asked, without
    work, whether it is back.
    """

    key: str
    backend: str
    provider: str = ""
    host: str = ""
    price_usd: float | None = None
    weight: float = 1.0
    probed: bool = False


class RoutingPolicy(Value, frozen=True):
    """How a backend is chosen and left: `[fallback_system]`, `[frameworks.*]`, `[task_routing]`.

    `error_rate` looks at the newest `error_rate_calls` calls, and says nothing before
    `error_rate_least`. Health is of the newest `window_calls` calls within `window_s`; a lane
    without a call for `stale_s` is given the benefit of the doubt. `tasks` leads from a kind of
    task to a backend, `overrides` from a pattern of repositories. `compare` names two strategies,
    of which the second gets `compare_share` of the pull requests. `lanes` are those of all
    backends, `fallback_lanes` those of a fallback that is described in its own section.
    """

    enabled: bool = True
    strategy: Strategy = Strategy.INTELLIGENT
    monitoring_interval_s: float = 30.0
    health_check_timeout_s: float = 10.0
    consecutive_failures: int = 3
    error_rate: float = 0.3
    error_rate_calls: int = 10
    error_rate_least: int = 6
    response_time_s: float = 30.0
    hysteresis_s: float = 300.0
    window_calls: int = 100
    window_s: float = 7_200.0
    stale_s: float = 900.0
    min_health: float = 0.3
    min_target_health: float = 0.5
    preventive: bool = True
    tasks: dict[str, str] = msgspec.field(default_factory=dict)
    overrides: dict[str, str] = msgspec.field(default_factory=dict)
    compare: tuple[Strategy, ...] = ()
    compare_share: float = 0.5
    lanes: tuple[Lane, ...] = ()
    fallback_lanes: tuple[Lane, ...] = ()


class Policy(Value, frozen=True):
    """Everything that decisions depend on, without secrets."""

    autofix: bool = True
    fixers: bool = True
    settle_s: float = 10.0
    sweep_s: float = 900.0
    rescue_s: float = 15.0
    write_pause_s: float = 1.0
    fallback_after: int = 3
    primary: tuple[BackendName, ...] = ()
    fallback: tuple[BackendName, ...] = ()
    trusted_markers: tuple[str, ...] = ()
    patterns: tuple[FailurePattern, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    guard: GuardPolicy = GuardPolicy()
    routing: RoutingPolicy = RoutingPolicy()


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One `[backends.X]` section, or `[backend_for_failed_pr]`; keys as in auto-coder's file.

    `timeout_s` bounds one whole call. `command` is the template of a `command` backend.
    """

    name: str
    backend_type: str
    model: str
    enabled: bool = True
    api_key: Secret | None = None
    base_url: str | None = None
    openai_api_key: Secret | None = None
    openai_base_url: str | None = None
    temperature: float | None = None
    timeout_s: float | None = None
    max_retries: int | None = None
    options: tuple[str, ...] = ()
    options_for_noedit: tuple[str, ...] = ()
    options_for_resume: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    model_provider: str | None = None
    settings: str | None = None
    usage_markers: tuple[object, ...] = ()
    usage_limit_retry_count: int = 0
    usage_limit_retry_wait_s: float = 0.0
    always_switch_after_execution: bool = False
    command: str | None = None
    price_in: float | None = None  # USD per million input tokens
    price_out: float | None = None  # USD per million output tokens
    price_cached: float | None = None  # USD per million input tokens read from a cache
    price_cache_write: float | None = None  # USD per million input tokens written to one
    models: tuple[str, ...] = ()  # patterns of the models that its agent may ask for; none: any

    @property
    def price(self) -> Price | None:
        """What its calls cost, None unless both prices are known."""
        if self.price_in is None or self.price_out is None:
            return None
        return Price(self.price_in, self.price_out, self.price_cached, self.price_cache_write)


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How untrusted code is run; `paths` are further read-only folders that it may see."""

    driver: str = "bubblewrap"  # or "none", only by name
    paths: tuple[str, ...] = ()
    memory_mb: int = 4096
    processes: int = 1024
    workers: int = 2  # backends and verifications at work at one time


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole of `llm_config.toml`, read once; `source` is None when there was no file.

    `origin` says for each dotted key who set it (a file, an environment variable, a default).
    """

    policy: Policy = field(default_factory=Policy)
    backends: Mapping[str, BackendConfig] = field(default_factory=dict)
    fallback: tuple[BackendConfig, ...] = ()
    sandbox: SandboxConfig = SandboxConfig()
    budget: Caps = field(default_factory=Caps)
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """The server's environment (`REGREEN_*`); secrets show as `***`."""

    app_id: int
    private_key: Secret
    webhook_secrets: tuple[Secret, ...]
    database_url: str
    data_dir: Path
    github_url: str = "https://api.github.com"
    config_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    environment: str = "development"
    sentry_dsn: str = ""
    api_token: Secret | None = None  # what callers of the API must bear; without it none is served
