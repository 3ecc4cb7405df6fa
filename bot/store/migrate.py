"""Bring a database to the tables of this version.

All revisions that are missing are applied in one transaction under a lock, so that a failure leaves
the database as it was, and two servers that start together do not migrate twice.
"""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from bot.domain.errors import BotError, NeedsPerson
from bot.store.database import Database

ADVISORY_LOCK = 7_224_736_001  # any number that no other user of the database takes


def migrate(database: Database, to: str = "head") -> tuple[str, str]:
    """Apply what is missing; return the revision before and after (empty: no tables yet)."""
    with database.write() as connection:
        _take_lock(connection)
        before = _revision(connection)
        try:
            command.upgrade(_config(connection), to)
        except CommandError as error:
            raise _unknown(database, before) from error
        return before, _revision(connection)


def downgrade(database: Database, to: str) -> None:
    """Undo the revisions after *to*; `base` removes every table."""
    with database.write() as connection:
        _take_lock(connection)
        command.downgrade(_config(connection), to)


def pending(database: Database) -> str:
    """Return why the tables are not those of this version, or nothing."""
    try:
        with database.read() as connection:
            revision = _revision(connection)
    except BotError as error:
        return str(error)
    if revision == head():
        return ""
    if not revision:
        return f"{database.name} has no tables yet: run `regreen migrate`"
    if revision not in revisions():
        return str(_unknown(database, revision))
    return f"{database.name} is at revision {revision}, not {head()}: run `regreen migrate`"


def head() -> str:
    """Return the newest revision that this version knows."""
    return revisions()[-1]


def revisions() -> tuple[str, ...]:
    """Return all revisions, oldest first."""
    scripts = ScriptDirectory.from_config(_config(None)).walk_revisions()
    return tuple(script.revision for script in scripts)[::-1]


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", "bot.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _take_lock(connection: sa.Connection) -> None:
    """Wait for other migrators; on SQLite the write transaction is the lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def _revision(connection: sa.Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


def _unknown(database: Database, revision: str) -> NeedsPerson:
    return NeedsPerson(
        f"{database.name} is at revision {revision}, which this version of Regreen does not know: "
        "it was migrated by a newer one. Run that version, or restore a backup."
    )
