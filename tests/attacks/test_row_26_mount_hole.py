"""Row 26: CVE-2026-87766: a link in the tree leads a mount point onto the host.

Controls: nothing is ever mounted below what the code may write; a user of its own, who may write
nowhere on the host; the self-test tries a tree full of such links. Before bubblewrap 0.12 the hole
is there without them.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.ports import NO_KIT
from bot.workspace.sandbox import TREE
from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import without


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a folder of the host to which the link `old` of `tree` leads."""
    skip_without_bubblewrap()
    host, tree = tmp_path / "host", tmp_path / "tree"
    host.mkdir()
    tree.mkdir()
    (tree / "old").symlink_to(f"/oldroot{host}")
    return host


def made(host: Path, *controls: str) -> list[Path]:
    without(*controls).run(("true",), host.parent / "tree", timeout_s=30)
    return list(host.iterdir())


def vulnerable() -> bool:
    told = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True)
    version = re.findall(r"\d+", told.stdout)
    return tuple(map(int, version[:2])) < (0, 12)


def test_nothing_is_made_on_the_host(host):
    assert made(host) == []


def test_a_mount_below_the_tree_would_make_it(host):
    if not vulnerable():
        pytest.skip("this bubblewrap is 0.12 or newer: the hole is mended")
    assert [path.name for path in made(host, "mounts", "user")] == ["made"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends users")
def test_a_user_of_its_own_makes_nothing_even_so(host):
    assert made(host, "mounts") == []


def test_nothing_that_is_mounted_lies_below_the_tree(host):
    sandbox = without()
    words = sandbox._world(sandbox._binds(host, kit := NO_KIT), {}, kit)
    assert [word for word in words if word.startswith(f"{TREE}/")] == []
    with pytest.raises(NeedsPerson, match="/tree/x"):
        without(config=SandboxConfig(paths=("/tree/x",))).selftest()


def test_the_self_test_finds_it():
    skip_without_bubblewrap()
    if not vulnerable():
        pytest.skip("this bubblewrap is 0.12 or newer: the hole is mended")
    holes = without("mounts", "user").selftest()
    assert any("CVE-2026-87766" in hole for hole in holes)
