"""Who executes work on a database, and who is dead.

A node's name is a lock. On SQLite it is the file lock, and there is one node. On PostgreSQL it is a
session advisory lock on a number: the server lets go of it when the connection ends, so a process
that died is known to be dead at once, by the database's own account and without any clock. A node
that was cut off loses its lock after the keep-alives below; it must stop before that (see
`bot/runtime/leases.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from bot.domain.errors import BotError, NeedsPerson
from bot.store.database import Database

LOCK_SPACE = 7077
SLOTS = 64
KEEPALIVE = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"
)


class FileNode:
    """The one node of a SQLite file."""

    def __init__(self, database: Database) -> None:
        database.lock()
        self.name = "local"

    def holds(self) -> bool:
        """Return true: the kernel keeps the lock as long as this process lives."""
        return True

    @contextmanager
    def takeover(self, name: str) -> Iterator[bool]:
        """Yield true for any other name: this file has no second node that could be alive."""
        yield name != self.name

    def release(self) -> None:
        """Keep the lock until the database is closed."""


class PostgresNode:
    """One of up to 64 nodes that share a PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = _session(database)
        for slot in range(SLOTS):
            if _locked(self._connection, slot):
                self._slot = slot
                return
        self._connection.close()
        raise NeedsPerson(f"{SLOTS} Regreen processes already share {database.name}")

    @property
    def name(self) -> str:
        """The name, which another process takes only once this one is dead."""
        return f"node-{self._slot}"

    def holds(self) -> bool:
        """Say whether the name is still ours; a connection that broke is made anew first."""
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except sa.exc.SQLAlchemyError:
            return self._regain()
        return True

    def _regain(self) -> bool:
        with suppress(sa.exc.SQLAlchemyError):
            self._connection.invalidate()
            self._connection.close()
        try:
            self._connection = _session(self._database)
        except (sa.exc.SQLAlchemyError, BotError):
            return False
        return _locked(self._connection, self._slot)

    @contextmanager
    def takeover(self, name: str) -> Iterator[bool]:
        """Yield whether the node *name* is dead; it cannot come back before the block ends."""
        slot = int(name.removeprefix("node-")) if name.removeprefix("node-").isdigit() else None
        if slot is None or slot == self._slot:
            yield slot is None
            return
        connection = _session(self._database)
        try:
            yield _locked(connection, slot)
        finally:
            connection.close()

    def release(self) -> None:
        """Let go of the name."""
        with suppress(sa.exc.SQLAlchemyError):
            self._connection.close()


def node(database: Database) -> FileNode | PostgresNode:
    """Become a node of the database."""
    return FileNode(database) if database.sqlite else PostgresNode(database)


def _session(database: Database) -> sa.Connection:
    """Open a connection of its own, outside the pool's rotation; closing it ends its locks."""
    connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()
    connection.exec_driver_sql(KEEPALIVE)
    return connection


def _locked(connection: sa.Connection, slot: int) -> bool:
    query = sa.select(sa.func.pg_try_advisory_lock(LOCK_SPACE, slot))
    return bool(connection.execute(query).scalar())
