"""What kinds of task a repair is."""

import pytest

from bot.config.routing import KINDS
from bot.domain.values import (
    Check,
    CheckKind,
    CheckState,
    FailingStep,
    FailureType,
    Location,
    Severity,
    Signal,
)
from bot.routing.tasks import kinds


def step(type_, *paths):
    signal = Signal(type_, 0.9, Severity.MEDIUM, "", locations=tuple(map(Location, paths)))
    return FailingStep(Check("ci", CheckKind.JOB, CheckState.FAILED), signal)


LINT, TEST = FailureType.LINT, FailureType.TEST_ASSERT


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([step(LINT, "a.py")], ("lint", "simple_tasks")),
        ([step(LINT, "web/App.tsx")], ("lint", "web_development", "simple_tasks")),
        ([step(TEST, "sort.py")], ("test_assert", "algorithm_implementation", "complex_tasks")),
        ([step(TEST, "a.test.ts")], ("test_assert", "web_development", "complex_tasks")),
        ([step(TEST, "a.ts", "b.py", "c.py")][:1], None),
        ([step(LINT), step(LINT)], ("lint", "complex_tasks")),
        ([step(LINT), step(TEST)], ("algorithm_implementation", "complex_tasks")),
        ([step(FailureType.SCHEMA_MIGRATION)], ("schema_migration", "complex_tasks")),
    ],
)
def test_kinds_go_from_the_closest_to_the_widest(steps, expected):
    assert kinds(steps) == (
        expected or ("test_assert", "algorithm_implementation", "complex_tasks")
    )


@pytest.mark.parametrize("type_", FailureType)
def test_every_kind_can_be_routed(type_):
    assert {*kinds([step(type_, "a.js")])} <= {*KINDS, *FailureType}
