"""Row 25: the code speaks to a daemon of the host: a container engine, or an abstract socket.

Controls: no folder with sockets is shown; abstract sockets belong to a network namespace.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
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
