"""What each section of `llm_config.toml` may hold, and what is said when it does not fit.

The shapes are read from the file as it is, so their fields are the file's keys. A key that has no
field is warned about with the nearest one that has; a value of the wrong type is an error that
names file, line and key.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from bot.config.document import Document, KeyPath
from bot.config.schema import ReviewMode, Strategy, Verify
from bot.domain.errors import ConfigError
from bot.domain.values import FailureType, Value

MOST = 1e9  # some thirty years in seconds: what is added to a date stays one
Seconds = Annotated[float, Meta(ge=0, le=MOST)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
PerMillion = Annotated[float, Meta(ge=0, le=10_000)]  # USD per million tokens
Positive = Annotated[float, Meta(gt=0, le=MOST)]
Factor = Annotated[float, Meta(ge=1, le=MOST)]
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[int, Meta(ge=0, le=10**12)]

DRAIN_SECTIONS = ("agent_chains", "agent_drains", "agent_chain")
SECRET_KEYS = frozenset(
    {
        "api_key",
        "claude_code_oauth_token",
        "claude_code_routine_token",
        "openai_api_key",
        "openrouter_api_key",
    }
)
# Accepted because auto-coder's files hold them; nothing reads them yet.
UNUSED_KEYS = frozenset(
    {
        "attempts",
        "claude_code_oauth_token",
        "claude_code_routine_token",
        "env_id",
        "environment",
        "environment_id",
        "extra_args",
        "url",
    }
)
# What auto-coder itself writes beside the settings that it saves.
WRITTEN_KEYS = frozenset({"options_explicitly_set", "options_for_noedit_explicitly_set"})
WRITTEN_NAMES = frozenset({"version", "created_at", "updated_at"})
NOEDIT_SECTIONS = ("backend_for_noedit", "message_backend")  # the newer name first
UNUSED_SECTIONS = frozenset(
    {
        "backend_adversarial_validation",
        "backend_cloud",
        "backend_with_high_score_cloud",
    }
)


class BackendKeys(Value, frozen=True):
    """`[backends.X]`, or `[X]` at the top level."""

    enabled: bool = True
    model: str | None = None
    backend_type: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    timeout: Positive | None = None
    max_retries: Count | None = None
    options: tuple[str, ...] | None = None
    providers: tuple[str, ...] = ()
    model_provider: str | None = None
    settings: str | None = None
    usage_markers: tuple[Any, ...] = ()
    usage_limit_retry_count: Count = 0
    usage_limit_retry_wait_seconds: Seconds = 0
    always_switch_after_execution: bool = False
    command: str | None = None
    price_in: PerMillion | None = None
    price_out: PerMillion | None = None
    price_cached: PerMillion | None = None
    price_cache_write: PerMillion | None = None
    models: tuple[str, ...] = ()
    claude_code_oauth_token: str | None = None
    extra_args: dict[str, Any] | None = None
    openrouter_api_key: str | None = None
    openrouter_base_url: str | None = None
    options_for_noedit: tuple[str, ...] | None = None
    options_for_resume: tuple[str, ...] | None = None
    url: str | None = None
    claude_code_routine_token: str | None = None
    environment_id: str | None = None
    environment: str | None = None
    env_id: str | None = None
    attempts: int | None = None
    options_explicitly_set: bool = True
    options_for_noedit_explicitly_set: bool = True


class ProviderKeys(Value, frozen=True):
    """`[<backend>.<provider>]` of `provider_metadata.toml`, without the keys in capitals."""

    description: str | None = None
    command: str | None = None
    args: tuple[str, ...] | None = None
    model: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    openrouter_api_key: str | None = None
    openrouter_base_url: str | None = None
    model_provider: str | None = None
    settings: str | None = None
    options: tuple[str, ...] | None = None
    options_for_noedit: tuple[str, ...] | None = None
    options_for_resume: tuple[str, ...] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    timeout: Positive | None = None
    max_retries: Count | None = None
    usage_markers: tuple[Any, ...] | None = None
    price_in: PerMillion | None = None
    price_out: PerMillion | None = None
    price_cached: PerMillion | None = None
    price_cache_write: PerMillion | None = None
    models: tuple[str, ...] | None = None


class FallbackKeys(BackendKeys, frozen=True):
    """`[backend_for_failed_pr]`: a backend by itself, or the `order` of existing ones."""

    name: str | None = None
    order: tuple[str, ...] = ()


class OrderKeys(Value, frozen=True):
    """`[backend]`."""

    default: str | None = None
    order: tuple[str, ...] = ()


class RegreenKeys(Value, frozen=True):
    """`[regreen]`."""

    autofix: bool | None = None
    fixers: bool | None = None
    settle_s: Seconds | None = None
    sweep_s: Positive | None = None
    rescue_s: Positive | None = None
    base_look_s: Positive | None = None
    write_pause_s: Seconds | None = None
    fallback_after: AtLeastOne | None = None


class AttemptsKeys(Value, frozen=True):
    """`[attempts]`."""

    trusted_markers: tuple[str, ...] | None = None


class RetryKeys(Value, frozen=True):
    """`[retry]`."""

    retries: dict[FailureType, Count] | None = None
    multipliers: dict[FailureType, Positive] | None = None
    base_s: Seconds | None = None
    cap_s: Seconds | None = None
    total_attempts: AtLeastOne | None = None
    per_step_attempts: AtLeastOne | None = None
    daily_attempts: AtLeastOne | None = None
    rejected_base_s: Seconds | None = None
    rejected_factor: Factor | None = None
    rejected_cap_s: Seconds | None = None
    jitter: bool | None = None
    same_error: AtLeastOne | None = None
    same_diff: AtLeastOne | None = None
    flaky_seen: AtLeastOne | None = None
    flaky_rate: Share | None = None
    flaky_streak: AtLeastOne | None = None


class GuardKeys(Value, frozen=True):
    """`[guard]`."""

    max_files: AtLeastOne | None = None
    max_lines: AtLeastOne | None = None
    protected: tuple[str, ...] | None = None


class QaKeys(Value, frozen=True):
    """`[qa]`."""

    enabled: bool | None = None
    feedback: bool | None = None
    max_sessions: AtLeastOne | None = None
    max_iterations: AtLeastOne | None = None


class PlanningKeys(Value, frozen=True):
    """`[planning]`."""

    enabled: bool | None = None
    within_s: Positive | None = None
    synthesis: str | None = None


class ReviewKeys(Value, frozen=True):
    """`[review]`."""

    mode: ReviewMode | None = None
    within_s: Positive | None = None


class GatekeeperKeys(Value, frozen=True):
    """`[gatekeeper]`."""

    verify: Verify | None = None
    preflight: bool | None = None
    ci_start_s: Positive | None = None
    ci_wait_s: Positive | None = None
    ci_look_s: Positive | None = None


class ApprovalKeys(Value, frozen=True):
    """`[approvals]`."""

    role: Literal["write", "admin"] | None = None
    remind_s: Positive | None = None
    expire_s: Positive | None = None


class AgentChainKeys(Value, frozen=True):
    """`[agent_chain]`: the older schema's roles, and what both schemas keep here."""

    developer: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    commit: tuple[str, ...] = ()
    analysis: tuple[str, ...] = ()
    provider_fallback: dict[str, Any] | None = None
    max_retries: Count = 3
    retry_delay_ms: Milliseconds = 1_000
    backoff_multiplier: Annotated[float, Meta(ge=0)] = 2.0
    max_backoff_ms: Milliseconds = 60_000
    max_cycles: Count = 3


class SandboxKeys(Value, frozen=True):
    """`[sandbox]`."""

    driver: Literal["bubblewrap", "podman", "docker", "none"] | None = None
    image: str | None = None
    paths: tuple[str, ...] | None = None
    memory_mb: AtLeastOne | None = None
    processes: AtLeastOne | None = None
    disk_mb: AtLeastOne | None = None
    workers: AtLeastOne | None = None
    fetch: tuple[str, ...] | None = None
    fetch_mb: AtLeastOne | None = None
    snapshots_mb: Count | None = None


class BudgetKeys(Value, frozen=True):
    """`[budget]`."""

    per_attempt_usd: Dollars | None = None
    per_pull_usd: Dollars | None = None
    per_repo_usd: Dollars | None = None
    per_tenant_usd: Dollars | None = None
    per_day_usd: Dollars | None = None


class FallbackSystemKeys(Value, frozen=True):
    """`[fallback_system]` (seed 3); times are seconds."""

    enabled: bool | None = None
    strategy: Strategy | None = None
    monitoring_interval: Positive | None = None
    health_check_timeout: Positive | None = None
    consecutive_failure_threshold: AtLeastOne | None = None
    error_rate_threshold: Share | None = None
    response_time_threshold: Positive | None = None
    hysteresis_time: Seconds | None = None
    min_health: Share | None = None
    min_target_health: Share | None = None
    preventive: bool | None = None
    overrides: dict[str, str] | None = None
    compare: tuple[Strategy, ...] | None = None
    compare_share: Share | None = None


class FrameworkKeys(Value, frozen=True):
    """`[frameworks.X]`: a backend's place in the order, and its weight where lanes are compared."""

    name: str | None = None
    enabled: bool = True
    priority: int | None = None
    health_weight: Positive = 1.0


class RetentionKeys(Value, frozen=True):
    """`[retention]`."""

    keep_days: Count | None = None
    keep_files: Count | None = None
    max_total_mb: Count | None = None
    prune_artifacts: bool | None = None


OWN_SECTIONS: Mapping[str, type[Value]] = {
    "regreen": RegreenKeys,
    "attempts": AttemptsKeys,
    "retry": RetryKeys,
    "guard": GuardKeys,
    "qa": QaKeys,
    "planning": PlanningKeys,
    "review": ReviewKeys,
    "gatekeeper": GatekeeperKeys,
    "approvals": ApprovalKeys,
    "sandbox": SandboxKeys,
    "budget": BudgetKeys,
    "fallback_system": FallbackSystemKeys,
    "retention": RetentionKeys,
}
ROUTING_TABLES = frozenset({"frameworks", "task_routing"})

Shape = TypeVar("Shape")
_EXPECTED = re.compile(r"Expected `(?P<want>[^`]+)`(?P<limit>[^,]*?)(?:, got `[^`]+`)?")
_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": "text",
}


# What the decoder does not tell: the words that a key may hold.
_CHOICES = {
    "approvals.role": "write or admin",
    "fallback_system.compare": f"two of {', '.join(Strategy)}",
    "fallback_system.strategy": f"one of {', '.join(Strategy)}",
    "gatekeeper.verify": f"one of {', '.join(Verify)}",
    "review.mode": f"one of {', '.join(ReviewMode)}",
    "sandbox.driver": "bubblewrap, podman, docker or none",
    "retry.retries": f"for types of failure: {', '.join(FailureType)}",
    "retry.multipliers": f"for types of failure: {', '.join(FailureType)}",
}


def keys_of(shape: type[Value]) -> tuple[str, ...]:
    """Return the keys that a section may hold."""
    return shape.__struct_encode_fields__


def fit(document: Document, path: KeyPath, values: Any, shape: type[Shape]) -> Shape:
    """Return what stands at *path* in its shape, or raise `ConfigError` naming file and line."""
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        raise ConfigError(_complaint(document, path, values, message, at)) from error


def misfit(key: str, value: Any) -> str:
    """Return what one of our own settings must be, empty when *value* is that."""
    section, _, name = key.partition(".")
    try:
        msgspec.convert({name: value}, OWN_SECTIONS[section])
    except msgspec.ValidationError as error:
        found = _EXPECTED.fullmatch(str(error).partition(" - at ")[0])
        return _must(found) if found else _CHOICES.get(key, "valid")
    return ""


def table(document: Document, path: KeyPath) -> dict[str, Any]:
    """Return the table at *path*, empty when there is none, or raise `ConfigError`."""
    values: Any = document.values
    for key in path:
        values = values.get(key, {})
    if not isinstance(values, dict):
        where = document.where(path)
        raise ConfigError(f"{where}: {'.'.join(path)} must be a table, not {shown(values)}")
    return values


def texts(document: Document, path: KeyPath) -> dict[str, str]:
    """Return the table at *path*, every value of which is text, or raise `ConfigError`."""
    values = table(document, path)
    for key, one in values.items():
        if not isinstance(one, str):
            where = document.where((*path, key))
            raise ConfigError(f"{where}: {'.'.join((*path, key))} must be text, not {shown(one)}")
    return values


def unknown(
    document: Document, path: KeyPath, names: Iterable[str], known: Iterable[str]
) -> list[str]:
    """Return a warning for each name that is not known, with the nearest that is."""
    options = sorted(known)
    return [
        f"{document.where((*path, name))}: {'.'.join((*path, name))} is not known and has no effect"
        + suggestion(name, options)
        for name in names
        if name not in options
    ]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` when something near is known."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def shown(value: Any) -> str:
    """Return a value as it would stand in the file."""
    return msgspec.json.encode(value).decode()


def _complaint(document: Document, path: KeyPath, values: Any, message: str, at: str) -> str:
    """Say in the file's words what the decoder says in its own."""
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", at)
    value, key = values, ".".join(path)
    for name, index in steps:
        value = value[name] if name else value[int(index)]
        key += f".{name}" if name else f"[{index}]"
    named = tuple(name for name, _ in steps if name)
    where = document.where((*path, *named))
    found = _EXPECTED.fullmatch(message)
    if found is None:
        wrong = message.removeprefix("Invalid enum value ")
        return f"{where}: {key} must be {_CHOICES.get(key, 'valid')}, not {wrong}"
    must = _must(found)
    if "[...]" in at:
        return f"{where}: every value of {key} must be {must}"
    if named and named[-1] in SECRET_KEYS:
        return f"{where}: {key} must be {must}"
    return f"{where}: {key} must be {must}, not {shown(value)}"


def _must(found: re.Match[str]) -> str:
    want = found["want"].removesuffix(" | null")
    return _WORDS.get(want, want) + found["limit"]
