"""The health of lanes, the standings of chains, and which calls lanes have heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "lanes",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probing", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("key", name="pk_lanes"),
    )
    op.create_index("ix_lanes_at", "lanes", ["at"])
    op.create_table(
        "standings",
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("chain", name="pk_standings"),
    )
    op.create_table(
        "heard",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_heard"),
    )
    op.create_index("ix_heard_at", "heard", ["at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("heard")
    op.drop_table("standings")
    op.drop_table("lanes")
