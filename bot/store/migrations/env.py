"""Alembic's entry: runs the revisions on the connection that `bot.store.migrate` holds."""

from alembic import context

from bot.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite can, within the transaction that the caller began
)
context.run_migrations()
