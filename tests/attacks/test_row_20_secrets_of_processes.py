"""Row 20: the code reads secrets out of other processes: their environment, words and memory.

Controls: bubblewrap is started without an environment, which its first process would show to all;
a namespace of processes; a user of its own, who may trace nobody.
"""

import os
import subprocess
import sys

import pytest

from bot.config.schema import SandboxConfig
from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import without

SEARCH = r"""
import ctypes, glob, sys
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        with open(path, "rb") as file:
            if b"CAN" + b"ARY" in file.read():
                print("LEAK", path.rsplit("/", 1)[1])
    except OSError:
        pass
if ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0:
    print("LEAK memory")
print("done")
"""


@pytest.fixture(autouse=True)
def _bubblewrap():
    skip_without_bubblewrap()


@pytest.fixture
def victim():
    """Run a process that has a secret in its words and its environment."""
    words = [sys.executable, "-c", "input()", "CANARY"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={"SECRET": "CANARY"}) as process:
        yield process
        process.communicate(b"\n")


def searched(tree, *controls: str, pid: int = 1_000_000) -> set[str]:
    words = ("python", "-c", SEARCH, str(pid))
    ended = without(*controls).run(words, tree, timeout_s=30)
    told = ended.output.splitlines()
    assert told[-1:] == ["done"]
    return {*told[:-1]}


def test_nothing_is_found(tmp_path, victim):
    assert searched(tmp_path, pid=victim.pid) == set()


def test_an_inherited_environment_would_be_read(tmp_path):
    assert "LEAK environ" in searched(tmp_path, "environment")


def test_other_processes_would_be_read(tmp_path, victim):
    assert "LEAK cmdline" in searched(tmp_path, "processes")


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root's files would be open to a sandbox of root"
)
def test_files_that_only_root_may_read_stay_closed(tmp_path):
    (tree := tmp_path / "tree").mkdir()
    (private := tmp_path / "shown").mkdir()
    (private / "key").write_text("CANARY")
    (private / "key").chmod(0o600)
    config = SandboxConfig(paths=(str(private),))
    reads = ("cat", str(private / "key"))
    assert "CANARY" not in without(config=config).run(reads, tree, timeout_s=30).output
    assert "CANARY" in without("user", config=config).run(reads, tree, timeout_s=30).output
