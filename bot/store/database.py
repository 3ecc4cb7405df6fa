"""One database, SQLite or PostgreSQL, and what differs between them.

SQLite: WAL with `synchronous=FULL`, so that a commit survives a power cut, unless it was made to be
swift. A write transaction takes the write lock at its beginning (BEGIN IMMEDIATE): two writers then
wait for each other instead of failing half-way. Reads take no transaction. Only one process may
execute work on a SQLite file; a lock on `<file>.lock` guards it, and the kernel lets go of it when
that process dies.

Both: an error of the driver leaves here as `TryLater` (down, full, busy: the same call may work
later), `NeedsPerson` (the tables are missing or not ours to write) or `Broken`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import sqlalchemy as sa
from sqlalchemy import exc

from bot.domain.errors import BotError, Broken, ConfigError, NeedsPerson, TryLater

PRAGMAS = (
    "busy_timeout=30000",
    "foreign_keys=ON",
    "journal_mode=WAL",
    "synchronous=FULL",
)
READ = {"regreen_read": True}
MISSING_TABLES = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
READ_ONLY = ("readonly database", "unable to open database", "InsufficientPrivilege")
RETRY_S = 3.0  # a restarted database is back in seconds
FULL = ("disk is full", "DiskFull", "No space left")


class Database:
    """An open database; safe to use from any thread."""

    def __init__(self, engine: sa.Engine, file: Path | None) -> None:
        self.engine = engine
        self.file = file
        self._reader = engine.execution_options(**READ)
        self._swift = engine if file is None else _swift(engine)
        self._lock: IO[str] | None = None

    @property
    def sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self.file is not None

    @property
    def name(self) -> str:
        """The URL without its password, for people."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def url(self) -> str:
        """The URL with its password, for the durable engine."""
        return self.engine.url.render_as_string(hide_password=False)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that is committed at the end of the block."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write_swiftly(self) -> Iterator[sa.Connection]:
        """Open a transaction whose commit does not wait for the disk.

        It survives the death of any process. A power cut may undo it, unless an ordinary write came
        after it.
        """
        with self._translated(), self._swift.begin() as connection:
            if self.file is None:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection for reading, or for one statement that is its own transaction."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    def reach(self) -> str:
        """Return why the database cannot be reached, or nothing."""
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT 1")
        except BotError as error:
            return str(error)
        return ""

    def used(self) -> bool:
        """Tell whether our tables were ever made here."""
        with self.read() as connection:
            return sa.inspect(connection).has_table("alembic_version")

    def lock(self) -> None:
        """Make this process the only one that executes work on the SQLite file, until `close`.

        PostgreSQL needs no such lock: there the processes share the work.
        """
        if self.file is None or self._lock is not None:
            return
        path = Path(f"{self.file}.lock")
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise NeedsPerson(
                f"{self.file} is in use by another Regreen server (process {owner} holds {path}). "
                "Stop that server, or give this one a REGREEN_DATA_DIR of its own, or set "
                "REGREEN_DATABASE_URL to a PostgreSQL database to run several."
            ) from error
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._lock = handle

    def durable_engine(self) -> sa.Engine:
        """Return a second engine on the same database for the durable engine's own tables.

        It begins its transactions itself, and on SQLite it writes through two connections at most:
        with more, SQLite's busy handler starves some of them.
        """
        if self.file is None:
            return _postgres(self.engine.url)
        engine = sa.create_engine(self.engine.url, pool_size=2, max_overflow=0)
        sa.event.listen(engine, "connect", _tuned("IMMEDIATE"))
        return engine

    def close(self) -> None:
        """Close all connections and let go of the lock."""
        self.engine.dispose()
        self._swift.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._translate(error) from error

    def _translate(self, error: exc.SQLAlchemyError) -> BotError:
        cause = error.orig if isinstance(error, exc.DBAPIError) else None
        text = " ".join(f"{type(cause or error).__name__}: {cause or error}".split())
        said = f"the database {self.name} says: {text}"
        if any(word in text for word in MISSING_TABLES):
            return NeedsPerson(f"{said}. Run `regreen migrate`.")
        if any(word in text for word in READ_ONLY):
            return NeedsPerson(f"{said}. Check that this user may write there.")
        if any(word in text for word in FULL):
            return TryLater(f"{said}. Its disk is full: free some space.", after_s=60)
        if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
            return TryLater(said, after_s=RETRY_S)
        if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
            return TryLater(said, after_s=RETRY_S)
        return Broken(said)


def connect(url: str, data_dir: Path) -> Database:
    """Open the database at *url*; an empty URL or `sqlite:///` means a file in *data_dir*."""
    if url in ("", "sqlite://", "sqlite:///"):
        return _sqlite(data_dir / "regreen.db")
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise ConfigError(f"REGREEN_DATABASE_URL is not a database URL: {error}") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if parsed.database in (None, ":memory:"):
            raise ConfigError("REGREEN_DATABASE_URL: a SQLite database must be a file")
        return _sqlite(Path(str(parsed.database)))
    if kind in ("postgresql", "postgres"):
        return Database(_postgres(parsed), None)
    raise ConfigError(f"REGREEN_DATABASE_URL: {kind} is neither sqlite:// nor postgresql://")


def _postgres(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        pool_timeout=10,
        connect_args={"connect_timeout": 10},
    )


def _sqlite(file: Path) -> Database:
    file = file.expanduser().absolute()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NeedsPerson(f"cannot make the folder {file.parent}: {error.strerror}") from error
    # Connections that wait longer than SQLite's own 30 s for the pool would only hide a hang.
    engine = sa.create_engine(f"sqlite:///{file}", pool_size=3, max_overflow=0, pool_timeout=30)
    sa.event.listen(engine, "connect", _tuned(None))
    sa.event.listen(engine, "begin", _begin)
    return Database(engine, file)


def _swift(engine: sa.Engine) -> sa.Engine:
    """Return a second engine on the same SQLite file whose commits do not wait for the disk."""
    swift = sa.create_engine(engine.url, pool_size=2, max_overflow=0, pool_timeout=30)
    sa.event.listen(swift, "connect", _tuned(None))
    sa.event.listen(swift, "connect", _unsynced)
    sa.event.listen(swift, "begin", _begin)
    return swift


def _unsynced(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _tuned(isolation: Literal["IMMEDIATE"] | None) -> Callable[[sqlite3.Connection, Any], None]:
    """Return the set-up of a SQLite connection; `isolation` None leaves BEGIN to us."""

    def tune(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = isolation
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return tune


def _begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get("regreen_read"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except OSError as error:
        raise NeedsPerson(f"cannot open {path}: {error.strerror}") from error
