"""Row 29: a run leaves something in a stored set-up, for later runs or other repositories'.

Control: a set-up is stored by who may write to the repository alone, made over lock files without
the tree, known by the hash of all that it saw, kept for one repository, and shown read-only.
Switched off here by saying that a run is to be trusted, and by a sandbox that shows it writable.
"""

from pathlib import Path
from typing import Any

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.ports import Kit
from bot.domain.values import Ground
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.sandbox import SHOWN, Bubblewrap
from bot.workspace.setup import Setup
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.setups import OURS, THEIRS, gatekeeper, stored, tree, verified

VENV = ("setup", "python -m venv .venv --without-pip")
PLANT = ("test", "mkdir -p .venv/lib; echo evil > .venv/planted; echo evil > ~/planted")
LOOK = ("test", "cat .venv/planted ~/planted; true")


@pytest.fixture(autouse=True)
def _sandbox():
    skip_without_bubblewrap()


def looked(keeper: LocalGatekeeper, at: Path, ground: Ground) -> str:
    """Return what a run finds that an earlier one may have planted."""
    return verified(keeper, at, VENV, LOOK, ground=ground)[-1].output


def test_what_runs_after_the_set_up_changes_only_its_own_copy(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    for number, ground in enumerate((OURS, THEIRS, OURS)):
        verified(keeper, tree(tmp_path / f"{number}"), VENV, PLANT, ground=ground)
    assert len(stored(tmp_path / "data")) == 1
    assert "evil" not in looked(keeper, tree(tmp_path / "later"), OURS)


def test_another_repository_sees_nothing_of_it(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    (first, *_) = verified(keeper, tree(tmp_path / "1"), VENV, ground=OURS)
    other = Ground("o/other", trusted=False)
    (second, *_) = verified(keeper, tree(tmp_path / "2"), VENV, ground=other)
    assert (bool(first.snapshot), second.snapshot) == (True, "")


# An installer that takes what it installs from the tree, if there is something.
GO = "#!/bin/sh\nmkdir -p .venv\n[ -e evil ] && cp evil .venv/planted\ntrue\n"


def with_go(root: Path) -> LocalGatekeeper:
    bin_ = root / "bin"
    bin_.mkdir()
    (bin_ / "go").write_text(GO)
    (bin_ / "go").chmod(0o755)
    sandbox = Bubblewrap(SandboxConfig(), f"{bin_}:{TOOLS}")
    data = root / "data"
    return LocalGatekeeper(sandbox, data, Setup(sandbox, data, path=f"{bin_}:{TOOLS}"))


def test_code_of_the_tree_takes_no_part_in_what_is_stored(tmp_path):
    """Nor does a model's change: its tree is not what the set-up runs over."""
    keeper = with_go(tmp_path)
    setup = ("setup", "go mod download")
    evil = tree(tmp_path / "1", go__mod="module x\n", evil="evil\n")
    verified(keeper, evil, setup, ground=OURS)
    assert len(stored(tmp_path / "data")) == 1
    clean = tree(tmp_path / "2", go__mod="module x\n")
    used, found = verified(keeper, clean, setup, LOOK, ground=THEIRS)
    assert used.snapshot
    assert "evil" not in found.output


def test_other_lock_files_are_another_set_up(tmp_path):
    keeper = with_go(tmp_path)
    setup = ("setup", "go mod download")
    for number, text in enumerate(("module evil\n", "module x\n")):
        at = tree(tmp_path / f"{number}", go__mod=text)
        verified(keeper, at, setup, ground=OURS)
    assert len(stored(tmp_path / "data")) == 2


def test_who_may_not_write_to_the_repository_stores_nothing(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    verified(keeper, tree(tmp_path / "1"), VENV, PLANT, ground=THEIRS)
    assert not (tmp_path / "data" / "setups").exists()


def test_it_would_store_something_if_it_were_believed(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    verified(keeper, tree(tmp_path / "1"), VENV, PLANT, ground=OURS)
    assert len(stored(tmp_path / "data")) == 1


class Writable(Bubblewrap):
    """A sandbox that shows a stored set-up as it shows the tree."""

    def _world(self, *given: Any) -> list[str]:
        words = super()._world(*given)
        if SHOWN in words:
            words[words.index(SHOWN) - 2] = "--bind"
        return words


@pytest.mark.parametrize(("kind", "held"), [(Bubblewrap, True), (Writable, False)])
def test_a_set_up_that_is_shown_cannot_be_changed(tmp_path, kind, held):
    shown = tree(tmp_path / "shown", file="clean")
    script = f"cd {SHOWN}; echo evil > file; touch new; ln file /tree/link; chmod 777 . file"
    (tmp_path / "tree").mkdir()
    kind(SandboxConfig(), TOOLS).run(
        ("sh", "-c", script), tmp_path / "tree", timeout_s=30, kit=Kit(shown=shown)
    )
    assert ((shown / "file").read_text() == "clean") is held
    assert (sorted(one.name for one in shown.iterdir()) == ["file"]) is held


@pytest.mark.parametrize("name", [".venv", "bin"])
def test_a_link_in_the_tree_leads_the_copy_nowhere(tmp_path, name):
    """`.venv -> /outside` waits in the tree of a fork for the copy to go through it."""
    keeper, outside = gatekeeper(tmp_path / "data"), tmp_path / "outside"
    outside.mkdir()
    verified(keeper, tree(tmp_path / "1"), VENV, ground=OURS)
    trap = tree(tmp_path / "2")
    (trap / ".venv").mkdir()
    link = trap / ".venv" if name == ".venv" else trap / ".venv" / name
    if name == ".venv":
        link.rmdir()
    link.symlink_to(outside)
    verified(keeper, trap, VENV, ground=THEIRS)
    assert list(outside.iterdir()) == []
    assert len(stored(tmp_path / "data")) == 1
