"""Seed 4's tables, filled as runs are saved from now on, and what is known of flaky tests."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    "test_observations",
    "approvals",
    "escalations",
    "plan_deltas",
    "retry_states",
    "auto_fix_runs",
)


def upgrade() -> None:
    """Make the tables."""
    _auto_fix_runs()
    _retry_states()
    _plan_deltas()
    _escalations()
    _approvals()
    _test_observations()


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_table(table)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _keys(table: str) -> tuple[sa.Constraint, ...]:
    """Return the primary key, and the reference to the run."""
    return (
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=f"fk_{table}_run_id"),
    )


def _auto_fix_runs() -> None:
    op.create_table(
        "auto_fix_runs",
        *map(_text, ("id", "run_id", "step_id", "step_name", "signal_type", "strategy", "outcome")),
        _number("attempt"),
        sa.Column("backoff", sa.Float),
        _time("created_at"),
        _time("updated_at"),
        *_keys("auto_fix_runs"),
    )
    op.create_index("ix_auto_fix_runs_run_id", "auto_fix_runs", ["run_id"])


def _retry_states() -> None:
    op.create_table(
        "retry_states",
        *map(_text, ("id", "run_id")),
        _number("attempt_counter"),
        _text("per_step_attempts"),
        _number("total_attempts"),
        sa.Column("last_backoff_seconds", sa.Float),
        _number("max_total_attempts"),
        _number("max_per_step_attempts"),
        _time("created_at"),
        _time("updated_at"),
        *_keys("retry_states"),
        sa.UniqueConstraint("run_id", name="uq_retry_states_run_id"),
    )


def _plan_deltas() -> None:
    op.create_table(
        "plan_deltas",
        *map(_text, ("id", "original_plan_id", "new_plan_id", "run_id")),
        *map(_text, ("delta_data", "triggered_by")),
        _time("created_at"),
        *_keys("plan_deltas"),
    )
    op.create_index("ix_plan_deltas_run_id", "plan_deltas", ["run_id"])


def _escalations() -> None:
    op.create_table(
        "escalations",
        *map(_text, ("id", "run_id", "reason", "signal_types", "gate_id")),
        _time("created_at"),
        *_keys("escalations"),
    )
    op.create_index("ix_escalations_run_id", "escalations", ["run_id"])


def _approvals() -> None:
    op.create_table(
        "approvals",
        *map(_text, ("id", "run_id", "repo")),
        _number("number"),
        *map(_text, ("types", "head", "reason", "state", "asked_by")),
        _time("asked_at"),
        _time("expires_at"),
        _text("answered_by"),
        _time("answered_at", nullable=True),
        _text("note"),
        *_keys("approvals"),
    )
    op.create_index("ix_approvals_run_id", "approvals", ["run_id"])


def _test_observations() -> None:
    name = "test_observations"
    op.create_table(
        name,
        *map(_text, ("repo", "key", "check_name", "fingerprint", "test")),
        sa.Column("flaked", sa.Boolean, nullable=False),
        _time("at"),
        sa.PrimaryKeyConstraint("repo", "key", name=f"pk_{name}"),
    )
    op.create_index(
        f"ix_{name}_repo_check_name_fingerprint", name, ["repo", "check_name", "fingerprint"]
    )
    op.create_index(f"ix_{name}_at", name, ["at"])
