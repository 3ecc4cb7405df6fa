"""The real server, killed with SIGKILL at the calls that change something, and begun again.

    python -m tests.support.victim LEDGER [--once] CALL...

CALL is `port.method`, such as `comments.post`; the process dies before and after each different
call of it, and `port.method:before` only before. What died is written to LEDGER first, one line a
death, so no call kills twice and the work comes to its end. `--once` dies once for good.

The parent imports everything, holds the listening socket and forks a process for each life: a
restart costs tenths of a second, and GitHub's deliveries wait at the socket meanwhile. Nothing else
is handed on: each life builds the whole server from its environment and the disk.
"""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn

from bot import app as composition
from bot.config import load
from bot.config.schema import Server
from bot.domain.ports import Ports
from bot.telemetry import logs

# What differs when a step that was cut is done again: places, times and secrets.
VOLATILE = re.compile(
    r"PosixPath\(.*?\)|token='[^']*'|seconds=[\d.]+|cpu_s=[\d.]+|max_rss_mb=[\d.]+|output='(?:[^'\\]|\\.)*'"
    r"|datetime\.datetime\([^)]*\)+|<function .*? at 0x[0-9a-f]+>|artifact='[^']*'"
)


class Cutter:
    """Ends this process at planned calls, each of them once."""

    def __init__(self, ledger: Path, planned: Sequence[str], *, once: bool) -> None:
        self._ledger = ledger
        self._planned = frozenset(planned)
        self._once = once

    def wrap(self, ports: Ports) -> Ports:
        """Put a cut around every port."""
        return Ports(
            **{
                port.name: Cut(getattr(ports, port.name), port.name, self.reached)
                for port in fields(Ports)
            }
        )

    def reached(self, call: str, when: str, said: str) -> None:
        """Die, if this call is planned and has not killed yet."""
        if not {call, f"{call}:{when}"} & self._planned:
            return
        line = f"{call}:{when} {said}"
        dead = self._ledger.read_text().splitlines() if self._ledger.exists() else []
        if line in dead or (self._once and dead):
            return
        with self._ledger.open("a") as ledger:
            ledger.write(line + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


class Cut:
    """One port, with a place to die before and after each call."""

    def __init__(self, port: Any, name: str, reached: Callable[[str, str, str], None]) -> None:
        self._port = port
        self._name = name
        self._reached = reached

    def __getattr__(self, method: str) -> Any:
        work = getattr(self._port, method)
        if not callable(work):
            return work

        def call(*words: Any, **named: Any) -> Any:
            said = name_of(f"{self._name}.{method}", words, named)
            self._reached(f"{self._name}.{method}", "before", said)
            answer = work(*words, **named)
            self._reached(f"{self._name}.{method}", "after", said)
            return answer

        return call


def name_of(call: str, words: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Return what makes a call different: for deliveries their kind, for all else what is said."""
    match call:
        case "deliveries.accept":
            return f"{words[0][0].event}.{words[0][0].action}"
        case "deliveries.settle":
            return "-".join(str(word) for word in words[1:]).replace(" ", "_")
        case _:
            text = VOLATILE.sub("", repr((words, sorted(named.items()))))
            return sha256(text.encode()).hexdigest()[:12]


def live(server: Server, listener: socket.socket, cutter: Cutter) -> int:
    """Be the server until told to end, or killed."""
    logs.configure(secrets=(server.private_key, *server.webhook_secrets), log_format="json")
    built = composition.build(server, wrap=cutter.wrap)
    config = uvicorn.Config(
        built.web, log_config=None, access_log=False, timeout_graceful_shutdown=15
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def main(words: Sequence[str]) -> int:
    """Fork one life after the other until one ends by itself."""
    ledger, *rest = words
    once = "--once" in rest
    cutter = Cutter(Path(ledger), [word for word in rest if word != "--once"], once=once)
    server = load.server()
    listener = socket.create_server((server.host, server.port), backlog=1024)
    child = 0
    ending = False

    def end(_signal: int, _frame: object) -> None:
        nonlocal ending
        ending = True
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    while not ending:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            Path(f"{ledger}.pid").write_text(str(os.getpid()))
            os._exit(live(server, listener, cutter))
        signal.signal(signal.SIGTERM, end)
        _, status = os.waitpid(child, 0)
        if once or os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            return os.waitstatus_to_exitcode(status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
