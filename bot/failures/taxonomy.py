"""What kinds of failure there are, and what each kind means for what comes next.

A `Rule` is one row of evidence: a pattern over one cleaned log line, the kind and tool that it
speaks for, and its weight: how probable the kind is when this line stands in the failing region.
Weights also order causes before symptoms: a full disk (0.97) outranks the failing test that it
brings about (0.94), which outranks a connection refused somewhere in the test's output (0.7).
Every row brings lines that it must match and lines that it must not; one test walks them.
"""

from collections.abc import Mapping, Sequence

from bot.domain.values import FailureType, Severity, Signal, Value

RETRYABLE = frozenset(
    {FailureType.TRANSIENT, FailureType.INFRA, FailureType.RATE_LIMIT, FailureType.UNKNOWN}
)

SEVERITY: Mapping[FailureType, Severity] = {
    FailureType.TRANSIENT: Severity.LOW,
    FailureType.RATE_LIMIT: Severity.LOW,
    FailureType.LINT: Severity.LOW,
    FailureType.INFRA: Severity.MEDIUM,
    FailureType.TYPECHECK: Severity.MEDIUM,
    FailureType.UNKNOWN: Severity.MEDIUM,
    FailureType.TEST_ASSERT: Severity.HIGH,
    FailureType.RUNTIME: Severity.HIGH,
    FailureType.SCHEMA_MIGRATION: Severity.HIGH,
    FailureType.POLICY: Severity.HIGH,
    FailureType.SECURITY: Severity.CRITICAL,
}


class Rule(Value, frozen=True):
    """One row of evidence. `hits` are lines that it matches, `misses` lines that it does not."""

    name: str
    type: FailureType
    tool: str
    weight: float
    pattern: str
    hits: tuple[str, ...]
    misses: tuple[str, ...] = ()


def rule(
    kind: FailureType,
    name: str,
    tool: str,
    weight: float,
    pattern: str,
    *hits: str,
    but_not: tuple[str, ...] = (),
) -> Rule:
    """Return a row: what it matches, how much that says, lines that prove it, lines that do not."""
    return Rule(name, kind, tool, weight, pattern, hits, but_not)


def requires_replan(signals: Sequence[Signal]) -> bool:
    """Return whether patching on makes no sense: two unknown signals, or over three kinds."""
    types = [signal.type for signal in signals]
    return types.count(FailureType.UNKNOWN) >= 2 or len(set(types)) > 3  # noqa: PLR2004 (seed 4)
