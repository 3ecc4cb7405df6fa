"""The tables, the same on every engine. Migrations make them; nothing here creates anything.

Bodies are zstd frames. Records, details, lists and maps are JSON as text, read back by msgspec. All
times are UTC; SQLite keeps no zone, so it is put back when a time is read.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


class Instant(sa.types.TypeDecorator[datetime]):
    """A point in time, in UTC on every engine."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """Turn a time into UTC; refuse one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """Put the zone back that SQLite dropped."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("guid", sa.Text, primary_key=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
# Only the few that wait are indexed: the index stays small and costs the intake little.
sa.Index(
    "ix_deliveries_waiting",
    DELIVERIES.c.received_at,
    sqlite_where=DELIVERIES.c.state == "new",
    postgresql_where=DELIVERIES.c.state == "new",
)

FENCES = sa.Table(
    "fences",
    METADATA,
    sa.Column("repo", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("stopped", sa.Integer, nullable=False, server_default="0"),
)

BUMPS = sa.Table(
    "bumps",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index(None, "repo", "number", "started_at"),
    sa.Index(None, "updated_at"),
)


def _of_run(**more: Any) -> sa.Column[str]:
    return sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id"), nullable=False, **more)


# The next five are seed 4's, worked out of the stored runs: see `bot.store.projections`.

AUTO_FIX_RUNS = sa.Table(
    "auto_fix_runs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    _of_run(index=True),
    sa.Column("step_id", sa.Text, nullable=False),
    sa.Column("step_name", sa.Text, nullable=False),
    sa.Column("signal_type", sa.Text, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("backoff", sa.Float),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

RETRY_STATES = sa.Table(
    "retry_states",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    _of_run(unique=True),
    sa.Column("attempt_counter", sa.Integer, nullable=False),
    sa.Column("per_step_attempts", sa.Text, nullable=False),
    sa.Column("total_attempts", sa.Integer, nullable=False),
    sa.Column("last_backoff_seconds", sa.Float),
    sa.Column("max_total_attempts", sa.Integer, nullable=False),
    sa.Column("max_per_step_attempts", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

PLAN_DELTAS = sa.Table(
    "plan_deltas",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("original_plan_id", sa.Text, nullable=False),
    sa.Column("new_plan_id", sa.Text, nullable=False),
    _of_run(index=True),
    sa.Column("delta_data", sa.Text, nullable=False),
    sa.Column("triggered_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

ESCALATIONS = sa.Table(
    "escalations",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    _of_run(index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("signal_types", sa.Text, nullable=False),
    sa.Column("gate_id", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

APPROVALS = sa.Table(
    "approvals",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    _of_run(index=True),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("types", sa.Text, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("asked_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("answered_by", sa.Text, nullable=False),
    sa.Column("answered_at", Instant),
    sa.Column("note", sa.Text, nullable=False),
)

TEST_OBSERVATIONS = sa.Table(
    "test_observations",
    METADATA,
    sa.Column("repo", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("check_name", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("test", sa.Text, nullable=False),
    sa.Column("flaked", sa.Boolean, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index(None, "repo", "check_name", "fingerprint"),
    sa.Index(None, "at"),
)

# What each account has spent and holds back, and its cap when it was last looked at; in billionths
# of a dollar.
SPENDING = sa.Table(
    "spending",
    METADATA,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("cap", sa.BigInteger),
)

MODEL_CALLS = sa.Table(
    "model_calls",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("accounts", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index(None, "run", "at"),
)
# Only the few that are open: who looks for those that nobody settled shall not read all of history.
sa.Index(
    "ix_model_calls_open",
    MODEL_CALLS.c.at,
    sqlite_where=MODEL_CALLS.c.state == "open",
    postgresql_where=MODEL_CALLS.c.state == "open",
)

# `probing` is until when somebody has the right to probe the lane.
LANES = sa.Table(
    "lanes",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
    sa.Column("probing", Instant),
)

STANDINGS = sa.Table(
    "standings",
    METADATA,
    sa.Column("chain", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

# The calls that lanes have heard of, so that each is counted once.
HEARD = sa.Table(
    "heard",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", Instant, nullable=False, index=True),
)

AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index(None, "subject", "id"),
)


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return the engine's own INSERT, which knows ON CONFLICT; both spell it the same way."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def plain(text: str) -> str:
    """Return *text* as both engines can keep it: PostgreSQL refuses the NUL character."""
    return text.replace("\x00", "\ufffd")
