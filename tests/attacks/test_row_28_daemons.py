"""Row 28: the code leaves a process behind that goes on when the command, or the server, has ended.

Controls: a namespace of processes, which dies with its first; that one dies with its parent.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import without

DAEMON = """
import os, sys
begun, begins = os.pipe()  # closed by the exec
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for end in range(3): os.close(end)
        os.execvp("sleep", ["sleep", sys.argv[1]])
    os._exit(0)
os.close(begins)
os.read(begun, 1)
"""
SERVER = """
import sys
from pathlib import Path
from tests.support.controls import without
tree, name, *controls = sys.argv[1:]
without(*controls).run(("sh", "-c", f"touch up; sleep {name}"), Path(tree), timeout_s=300)
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def name() -> Iterator[str]:
    """Return how long the daemon sleeps, by which it is known; what is left of it is killed."""
    skip_without_bubblewrap()
    name = f"300.{time.monotonic_ns()}"
    yield name
    for process in daemons(name):
        process.kill()


def daemons(name: str) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [one for one in every if one.info["cmdline"] == ["sleep", name]]


def left(name: str) -> bool:
    """Tell whether the daemon goes on; one that is being killed may take a moment."""
    return psutil.wait_procs(daemons(name), 1)[1] != []


def test_a_daemon_ends_with_its_command(tmp_path, name):
    without().run(("python", "-c", DAEMON, name), tmp_path, timeout_s=30)
    assert not left(name)


def test_it_would_go_on_without_a_namespace(tmp_path, name):
    without("processes").run(("python", "-c", DAEMON, name), tmp_path, timeout_s=30)
    assert left(name)


def killed(tree: Path, name: str, *controls: str) -> None:
    """Kill a server while a command runs in its sandbox."""
    words = [sys.executable, "-c", SERVER, str(tree), name, *controls]
    with subprocess.Popen(words, cwd=ROOT) as server:
        while not (daemons(name) and (tree / "up").exists()):
            assert server.poll() is None
            psutil.wait_procs([psutil.Process(server.pid)], 0.05)
        server.send_signal(signal.SIGKILL)


def test_a_command_ends_with_its_server(tmp_path, name):
    killed(tmp_path, name)
    assert not left(name)


def test_it_would_go_on_without_its_parent(tmp_path, name):
    killed(tmp_path, name, "parent")
    assert left(name)
