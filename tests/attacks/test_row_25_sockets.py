"""Row 25: the code speaks to a daemon of the host: a container engine, or an abstract socket.

Controls: no folder with sockets is shown; abstract sockets belong to a network namespace; what is
in no namespace is filtered away: sockets to the hypervisor, key rings, rings that make sockets.
"""

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.workspace import syscalls
from bot.workspace.sandbox import Bubblewrap
from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import without


@pytest.fixture(autouse=True)
def _bubblewrap():
    skip_without_bubblewrap()


@contextmanager
def listening(name: str) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        yield name


def reached(sandbox: Bubblewrap, name: str, tree: Path) -> bool:
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r}); print('in')"
    return sandbox.run(("python", "-c", script), tree, timeout_s=30).output == "in\n"


def test_abstract_sockets_are_those_of_a_network_namespace(tmp_path):
    with listening(f"\0regreen-{os.getpid()}") as name:
        assert not reached(without(), name, tmp_path)
        assert reached(without("network"), name, tmp_path)


def test_sockets_of_the_host_are_not_shown(tmp_path):
    (tree := tmp_path / "tree").mkdir()
    (run := tmp_path / "run").mkdir()
    with listening(str(run / "docker.sock")) as name:
        (run / "docker.sock").chmod(0o666)
        (tree / "link").symlink_to(name)
        assert not reached(without(), name, tree)
        assert not reached(without(), "/tree/link", tree)
        assert reached(without(config=SandboxConfig(paths=(str(run),))), name, tree)


CALLS = {
    "hypervisor": "socket.socket(40, socket.SOCK_STREAM)",  # made only, never connected
    "key ring": "assert libc.syscall(NUMBER['keyctl'], 0, -3, 0) >= 0",  # that of the session
    "ring": "assert libc.syscall(NUMBER['io_uring_setup'], 4, ctypes.create_string_buffer(120)) >= 0",
}
PREPARED = """
import ctypes, platform, socket
libc = ctypes.CDLL(None)
NUMBER = {"io_uring_setup": 425, "keyctl": 219 if platform.machine() == "aarch64" else 250}
"""


@pytest.mark.skipif(not syscalls.program(platform.machine()), reason="no filter for this machine")
@pytest.mark.parametrize("call", CALLS)
def test_what_is_in_no_namespace_is_filtered(tmp_path, call):
    words = ("python", "-c", f"{PREPARED}{CALLS[call]}\nprint('in')")
    assert "in\n" not in without().run(words, tmp_path, timeout_s=30).output
    open_ = without("filter").run(words, tmp_path, timeout_s=30).output
    if "in\n" not in open_:
        pytest.skip(f"this kernel has none of it: {open_.splitlines()[-1]}")


def test_ordinary_sockets_and_programs_work_under_the_filter(tmp_path):
    script = (
        "import socket, subprocess\n"
        "made = [socket.socket(one) for one in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)]\n"
        "socket.socketpair(); socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        "print(subprocess.run(['echo', 'works'], capture_output=True, text=True).stdout)\n"
    )
    ended = without().run(("python", "-c", script), tmp_path, timeout_s=30)
    assert ended.output.startswith("works")
