"""Settings as frozen values.

`Policy` is what decisions read; it holds no secret, so a pass can carry its own copy from beginning
to end. `BackendConfig` and `Server` hold secrets and stay in the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from bot.domain.models import Caps, Price, PriceOf
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
_MOST_HUNDREDTHS = 2**64 - 1


class RetryPolicy(Value, frozen=True):
    """How often and when to try again (seed 4's table, seed 1's backoff); delays are seconds.

    `per_step_attempts` counts for each backend tier, so three primary and three fallback attempts
    fit into `total_attempts`. `daily_attempts` holds for a pull request over 24 hours, even when it
    was green in between: what undoes our work again and again does not loop with us. A failure
    counts as flaky when it was seen `flaky_seen` times, in at least `flaky_rate` of them without
    cause; the `flaky_streak`-th such verdict in a row takes it for real.
    """

    retries: dict[str, int] = msgspec.field(default_factory=lambda: dict(DEFAULT_RETRIES))
    multipliers: dict[str, float] = msgspec.field(default_factory=lambda: dict(DEFAULT_MULTIPLIERS))
    base_s: float = 1.0
    cap_s: float = 60.0
    total_attempts: int = 6
    per_step_attempts: int = 3
    daily_attempts: int = 12
    rejected_base_s: float = 10.0
    rejected_factor: float = 2.0
    rejected_cap_s: float = 600.0
    jitter: bool = True
    same_error: int = 3
    same_diff: int = 3
    flaky_seen: int = 2
    flaky_rate: float = 0.5
    flaky_streak: int = 3


class GuardPolicy(Value, frozen=True):
    """What a patch may touch; `protected` are glob patterns matched without regard to case."""

    max_files: int = 25
    max_lines: int = 1500
    protected: tuple[str, ...] = (
        ".github/**",
        "**/CODEOWNERS",
        "autocoder.yaml",
        "llm_config.toml",
        ".gitlab-ci.yml",
        ".circleci/**",
        ".buildkite/**",
        "azure-pipelines.yml",
        "Jenkinsfile",
        ".gitattributes",
        "**/.claude/**",
        "**/.codex/**",
        "**/.gemini/**",
        "**/.qwen/**",
        "**/.opencode/**",
        "**/.agents/**",
        "**/opencode.json*",
        "**/.aider*",
        "**/.mcp.json",
        "**/AGENTS*.md",
        "**/CLAUDE*.md",
        "**/GEMINI.md",
        "**/QWEN.md",
    )


class QaPolicy(Value, frozen=True):
    """The QA pass after a rejection (seed 1): the same change, sent back with what was found.

    `max_sessions` bounds the attempts of a run that have one, `max_iterations` the tries of each.
    Without `feedback` the next attempt is not told why the one before it was rejected.
    """

    enabled: bool = False
    feedback: bool = True
    max_sessions: int = 3
    max_iterations: int = 2


class PlanningPolicy(Value, frozen=True):
    """The plan before the fix: `within_s` seconds for all of it, `synthesis` makes one of many."""

    enabled: bool = False
    within_s: float = 120.0
    synthesis: str = ""


class ReviewMode(StrEnum):
    """What the review drain decides (seed 1); each is stricter than the one before it."""

    OFF = "off"
    ADVISORY = "advisory"  # what is said stands in the report
    CONSENSUS = "consensus"  # the majority decides
    GATE = "gate"  # one no rejects


class ReviewPolicy(Value, frozen=True):
    """The review of a proved change: what the reviewers decide, and their seconds in all."""

    mode: ReviewMode = ReviewMode.ADVISORY
    within_s: float = 300.0


class Verify(StrEnum):
    """Where a change is proved before its branch is touched."""

    LOCAL = "local"  # by the gatekeeper, in the sandbox
    CI = "ci"  # by the repository's own checks, on a scratch branch
    BOTH = "both"  # first one, then the other


class GatekeeperPolicy(Value, frozen=True):
    """How a change is proved; times are seconds.

    With `preflight` the commands run in the backend's own tree first (seed 1's controller). On the
    scratch branch a first check must begin within `ci_start_s` and all must end within `ci_wait_s`;
    we look every `ci_look_s`, and whenever GitHub tells of a check.
    """

    verify: Verify = Verify.LOCAL
    preflight: bool = False
    ci_start_s: float = 120.0
    ci_wait_s: float = 3_600.0
    ci_look_s: float = 60.0


class ApprovalPolicy(Value, frozen=True):
    """Who answers at a gate (`write` or `admin`), and after how many seconds we remind and end."""

    role: str = "write"
    remind_s: float = 86_400.0
    expire_s: float = 604_800.0


class BackendName(Value, frozen=True):
    """A backend as decisions see it: its name and the model that it would use."""

    name: str
    model: str


class Drain(StrEnum):
    """A job that works through a chain of backends (seed 2)."""

    PLANNING = "planning"
    DEVELOPMENT = "development"
    REVIEW = "review"
    FIX = "fix"
    COMMIT = "commit"
    ANALYSIS = "analysis"


class Chain(Value, frozen=True):
    """Backends in their order, under the name that the file gives them; disabled ones left out."""

    name: str
    backends: tuple[BackendName, ...]


class Drains(Value, frozen=True):
    """Which chain each drain works through, and how patiently (seed 2); times are milliseconds.

    A drain without a chain is not in `chains`. `max_retries` counts for one backend, `max_cycles`
    for trips through a whole chain. `provider_fallback` holds for a backend the flags of the models
    to try. `multiplier_hundredths` is 200 for a factor of 2.0. `own_rounds` tells that the file
    says how the trips go; else `repair/backends.py` does, and `max_cycles` and the delays do not.
    """

    chains: dict[Drain, Chain] = msgspec.field(default_factory=dict)
    provider_fallback: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    max_retries: int = 3
    retry_delay_ms: int = 1_000
    multiplier_hundredths: int = 200
    max_backoff_ms: int = 60_000
    max_cycles: int = 3
    own_rounds: bool = False

    def backoff_ms(self, cycle: int) -> int:
        """Return the wait before a cycle, the first being 0: `min(base·mult^cycle, cap)`.

        Whole numbers throughout, as in the seed, so that the values are the same everywhere.
        """
        hundredths = self.retry_delay_ms * 100
        for _ in range(cycle):
            grown = min(hundredths * self.multiplier_hundredths // 100, _MOST_HUNDREDTHS)
            if grown == hundredths:  # nothing, constant or saturated: so it stays
                break
            hundredths = grown
        return min(hundredths // 100, self.max_backoff_ms)


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
    """Everything that decisions depend on, without secrets.

    `planners`, `analysts` and `reviewers` are the backends of those drains; without any there is no
    such step. `drains` holds all chains and how patiently they are worked through. `base_look_s` is
    how often a base branch that fails, too, is looked at again.
    """

    autofix: bool = True
    fixers: bool = True
    settle_s: float = 10.0
    sweep_s: float = 900.0
    rescue_s: float = 15.0
    base_look_s: float = 900.0
    write_pause_s: float = 1.0
    fallback_after: int = 3
    primary: tuple[BackendName, ...] = ()
    fallback: tuple[BackendName, ...] = ()
    planners: tuple[BackendName, ...] = ()
    analysts: tuple[BackendName, ...] = ()
    reviewers: tuple[BackendName, ...] = ()
    trusted_markers: tuple[str, ...] = ()
    patterns: tuple[FailurePattern, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    guard: GuardPolicy = GuardPolicy()
    qa: QaPolicy = QaPolicy()
    planning: PlanningPolicy = PlanningPolicy()
    review: ReviewPolicy = ReviewPolicy()
    gatekeeper: GatekeeperPolicy = GatekeeperPolicy()
    approvals: ApprovalPolicy = ApprovalPolicy()
    routing: RoutingPolicy = RoutingPolicy()
    drains: Drains = Drains()


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One `[backends.X]` section, or `[backend_for_failed_pr]`; keys as in auto-coder's file.

    `timeout_s` bounds one whole call. `command` is the template of a `command` backend. `ways`
    holds for each of its providers, in their order, this backend as that one reaches it.
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
    options_for_noedit: tuple[str, ...] = ()  # instead of `options` where nothing is edited
    options_for_resume: tuple[str, ...] = ()  # besides, where a session goes on
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
    list_price: Price | None = None  # of its model, from `[prices]`
    env: Mapping[str, str] = field(default_factory=dict)  # its agent's, besides ours; no secret
    provider: str = ""  # the one that this is the way through
    ways: Mapping[str, "BackendConfig"] = field(default_factory=dict)

    def through(self, provider: str) -> "BackendConfig | None":
        """Return this backend as *provider* reaches it, None when it has no such provider.

        "" is the first provider, and a backend without any is reached by itself.
        """
        if not provider:
            return next(iter(self.ways.values()), self)
        return self.ways.get(provider)

    @property
    def own_price(self) -> Price | None:
        """The price that its section states, None unless both prices are there."""
        if self.price_in is None or self.price_out is None:
            return None
        return Price(self.price_in, self.price_out, self.price_cached, self.price_cache_write)

    @property
    def price(self) -> Price | None:
        """What calls of its model cost, None when that is not known."""
        return self.own_price or self.list_price


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How untrusted code is run; `paths` are further read-only folders that it may see.

    `fetch` lists the hosts that a set-up may fetch from, `name`, `*.name`, `name:port` or an
    address; `fetch_mb` bounds one set-up, `snapshots_mb` all stored set-ups together (0: none).
    """

    driver: str = "bubblewrap"  # or "podman", "docker"; "none" only by name
    image: str = ""  # what containers are made from, for podman and docker
    paths: tuple[str, ...] = ()
    memory_mb: int = 4096
    processes: int = 1024
    disk_mb: int = 8192  # how much of the disk one command may use up
    workers: int = 2  # backends and verifications at work at one time
    fetch: tuple[str, ...] = ()
    fetch_mb: int = 2048
    snapshots_mb: int = 4096


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long logs are kept, and artifacts where they are pruned too (seed 1); 0 is no limit."""

    keep_days: int = 7
    keep_files: int = 200
    max_total_mb: int = 200
    prune_artifacts: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole of `llm_config.toml`, read once; `source` is None when there was no file.

    `origin` says for each dotted key who set it (a file, an environment variable, a default).
    """

    policy: Policy = field(default_factory=Policy)
    backends: Mapping[str, BackendConfig] = field(default_factory=dict)
    fallback: tuple[BackendConfig, ...] = ()
    drains: Drains = field(default_factory=Drains)
    sandbox: SandboxConfig = SandboxConfig()
    budget: Caps = field(default_factory=Caps)
    prices: tuple[PriceOf, ...] = ()
    retention: RetentionConfig = RetentionConfig()
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The keys of models."""
        every = (*self.backends.values(), *self.fallback)
        found = (key for one in every for key in (one.api_key, one.openai_api_key))
        return tuple(key for key in found if key is not None)


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

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What the environment gave us to keep."""
        token = () if self.api_token is None else (self.api_token,)
        return (self.private_key, *self.webhook_secrets, *token)
