"""The real server as a process of its own, against a simulated GitHub and a scripted model."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from bot.config.load import environment
from bot.simulator.model import ScriptedModel
from bot.simulator.serve import Simulator
from tests.support.forked import Forked

CONFIG = """\
[backend]
default = "primary"
order = ["primary"]

[backends.primary]
backend_type = "openai"
model = "scripted-primary"
base_url = "{model}"
api_key = "not-a-key"

[backend_for_failed_pr]
backend_type = "openai"
model = "scripted-fallback"
base_url = "{model}"
api_key = "not-a-key"

[regreen]
settle_s = 0.2
write_pause_s = 0.0

[retry]
rejected_base_s = 0.2
base_s = 0.1
jitter = false

[sandbox]
driver = "{driver}"
"""
DRIVER = "bubblewrap" if shutil.which("bwrap") else "none"
SOON_S = 5.0
# One client, since each reads all certificates when it is made; it keeps no connection to servers
# that are killed.
WEB = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass
class Regreen:
    """One server; `settle` waits until neither it nor GitHub has anything left to do."""

    folder: Path
    github: Simulator
    model: ScriptedModel | None = None
    config: str = CONFIG
    database_url: str = ""
    program: tuple[str, ...] = ("bot", "serve", "--log-format", "json")
    extra: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: Forked | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text() if path.exists() else ""

    def environ(self) -> dict[str, str]:
        config = self.folder / "llm_config.toml"
        if self.config:
            url = self.model.url if self.model else "http://127.0.0.1:9"
            config.write_text(self.config.format(model=url, driver=DRIVER))
        return {
            "PATH": environment()["PATH"],
            "HOME": str(self.folder),
            "REGREEN_APP_ID": str(self.github.app_id),
            "REGREEN_PRIVATE_KEY": self.github.private_key,
            "REGREEN_WEBHOOK_SECRET": self.github.webhook_secret,
            "REGREEN_GITHUB_URL": self.github.url,
            "REGREEN_DATABASE_URL": self.database_url,
            "REGREEN_DATA_DIR": str(self.data),
            "REGREEN_CONFIG": str(config),
            "REGREEN_HOST": "127.0.0.1",
            "REGREEN_PORT": str(self.port),
            **self.extra,
        }

    def start(self, *, ready: bool = True) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self.github.set_webhook(f"{self.url}/webhooks/github", self.github.webhook_secret)
        root, log = Path(__file__).parents[2], self.folder / "server.log"
        self.process = Forked(self.program, env=self.environ(), cwd=root, output=log)
        if ready:
            self.wait_for(self.ready, 90, "the server to be ready")

    def ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.log[-4000:]}")
        try:
            return WEB.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def settle(self, timeout_s: float = 120.0) -> None:
        """Wait until nothing is under way here or at GitHub, and stays so."""
        self.wait_for(
            lambda: self.quiet() and self.github.idle() and self.quiet(), timeout_s, "rest"
        )

    def quiet(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.log[-4000:]}")
        soon_ms = int((time.time() + SOON_S) * 1000)
        return not self.rows(
            "SELECT 1 FROM deliveries WHERE state = 'new' LIMIT 1"
        ) and not self.rows(
            f"SELECT 1 FROM {self.workflows} WHERE status IN ('ENQUEUED', 'PENDING') OR "
            f"(status = 'DELAYED' AND delay_until_epoch_ms < {soon_ms}) LIMIT 1"
        )

    @property
    def workflows(self) -> str:
        return "dbos.workflow_status" if self.database_url else "workflow_status"

    def rows(self, query: str) -> list[sa.Row[Any]]:
        with engine_for(
            self.database_url.replace("postgresql://", "postgresql+psycopg://")
            or f"sqlite:///{self.data / 'regreen.db'}"
        ).connect() as connection:
            return list(connection.exec_driver_sql(query).all())

    def wait_for(self, claim, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not claim():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {timeout_s} s for {what}; the log ends:\n{self.log[-6000:]}"
                )
            time.sleep(0.1)


@contextmanager
def running(folder: Path, github: Simulator, **options) -> Iterator[Regreen]:
    """Run a server while the block lasts."""
    server = Regreen(folder, github, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def command(server: Regreen, *words: str) -> str:
    """Run `regreen` with *words* where the server runs; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bot", *words],
        env=server.environ(),
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@cache
def engine_for(url: str) -> sa.Engine:
    """Keep the engine, but no connection: a database may be stopped in between."""
    return sa.create_engine(url, poolclass=sa.NullPool)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
