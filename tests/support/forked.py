"""Programs of ours as processes that begin with all modules read.

Reading them takes two seconds of a processor, and tests start hundreds of servers. One process
reads them once, and each program is a fork of it: a process of its own like any other, with its own
environment, folder and output. `tests/acceptance/test_installed.py` starts the command itself.
"""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

READ = ("bot.app", "bot.cli.serve", "tests.support.victim")


class Forked:
    """`python -m` *words*, as `subprocess.Popen` would show it; it ends with the tests."""

    def __init__(
        self, words: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path
    ) -> None:
        told = (tuple(words), dict(env), str(cwd), str(output))
        self._process = _context().Process(target=_live, args=told, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code; raise TimeoutExpired where there is none in time."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python -m", timeout_s or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


@cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(READ))
    return context


def _live(words: tuple[str, ...], env: dict[str, str], cwd: str, output: str) -> None:
    """Be the program, in the new process."""
    os.environ.clear()  # noqa: TID251 -- the program's own are to be the only ones
    os.environ.update(env)  # noqa: TID251
    os.chdir(cwd)
    with Path(output).open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    module, *sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
