"""Mirrors are caches: shared by all, mended when broken, and kept small."""

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from bot.domain.errors import Broken, TryLater
from bot.domain.values import Remote, Sha
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees, Reuse
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHANGE = "--- a/d/b.txt\n+++ b/d/b.txt\n@@ -1 +1 @@\n-b\n+two\n"


def made(root: Path) -> GitTrees:
    return GitTrees(root / "state", git=Git(protocols=("file",)), reuse=Reuse(each=0))


@pytest.fixture
def origin(tmp_path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def trees(tmp_path) -> Iterator[GitTrees]:
    found = made(tmp_path)
    yield found
    found.close()


def mirror(root: Path) -> Path:
    return root / "state" / "mirrors" / "o" / "r.git"


def files(trees: GitTrees, origin: Origin, head: Sha) -> dict[str, str]:
    with trees.open("o/r", head, origin.remote) as tree:
        return {path.name: path.read_text() for path in tree.path.iterdir() if path.is_file()}


def names(root: Path) -> set[str]:
    return {path.name for path in (mirror(root) / "refs" / "regreen").glob("*")}


# --- Broken ones ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A mirror with one commit, loose and packed, and a later commit that it does not have."""

    root: Path
    origin: Origin
    heads: tuple[Sha, Sha]
    kept: dict[str, Path]


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    root = tmp_path_factory.mktemp("stage")
    origin = Origin(root)
    head = origin.commit({"a.txt": "one\n" * 500, "d/b.txt": "b\n"})
    trees = made(root)
    files(trees, origin, head)
    trees.close()
    kept = {kind: root / kind for kind in ("loose", "packed")}
    shutil.copytree(mirror(root), kept["loose"])
    origin.git("repack", "-adq", where=mirror(root))
    origin.git("pack-refs", "--all", where=mirror(root))
    shutil.copytree(mirror(root), kept["packed"])
    later = origin.commit({"a.txt": "one\n" * 500 + "two\n", "c.txt": "c\n"})
    return Stage(root, origin, (head, later), kept)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scrambled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, min(len(data), len(data) // 3 + 8)):
        data[at] ^= 0xFF
    path.write_bytes(data)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [emptied, cut, scrambled, removed], ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", ["loose", "packed"])
def test_whatever_file_is_broken_the_next_use_mends_it(stage, tmp_path, kind, harm):
    """Every file of a mirror in turn: trees are whole all the same, of the known head and a new."""
    first, later = stage.heads
    parts = [path.relative_to(stage.kept[kind]) for path in stage.kept[kind].rglob("*")]
    parts = [part for part in parts if (stage.kept[kind] / part).is_file()]
    assert len(parts) >= 4
    for number, part in enumerate(parts):
        root = tmp_path / str(number)
        shutil.copytree(stage.kept[kind], mirror(root))
        (mirror(root) / part).chmod(0o600)
        harm(mirror(root) / part)
        trees = made(root)
        told = (part, files(trees, stage.origin, first), files(trees, stage.origin, later))
        assert told == (
            part,
            {"a.txt": "one\n" * 500},
            {"a.txt": "one\n" * 500 + "two\n", "c.txt": "c\n"},
        )
        trees.close()


USES = {
    "files": lambda trees, origin, heads: trees.files("o/r", heads[0], origin.remote, ["d/b.txt"]),
    "restore": lambda trees, origin, heads: trees.restore("o/r", *heads, "m", AT, origin.remote),
    "commit": lambda trees, origin, heads: trees.commit(
        "o/r", heads[0], CHANGE, "m", AT, origin.remote
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_broken_mirror_is_mended_for_files_and_commits(stage, tmp_path, use):
    shutil.copytree(stage.kept["packed"], mirror(tmp_path))
    (pack,) = mirror(tmp_path).glob("objects/pack/*.pack")
    pack.chmod(0o600)
    cut(pack)
    trees = made(tmp_path)
    assert use(trees, stage.origin, stage.heads)
    trees.close()


def test_a_mirror_that_breaks_under_a_run_is_mended_for_its_next_try(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})

    def run(during: Callable[[], object]) -> str:
        with trees.open("o/r", head, origin.remote) as tree:
            (tree.path / "a.txt").write_text("two\n")
            during()
            return str(tree.diff())

    with pytest.raises(TryLater, match="fetched anew"):
        run(lambda: emptied(mirror(tmp_path) / "HEAD"))
    assert "+two" in run(lambda: None)


def test_words_of_a_stranger_break_no_mirror(origin, trees, tmp_path):
    """A patch that does not fit is refused in git's words, which quote the names in it."""
    name = "unable to read what is corrupt"
    head = origin.commit({name: "one\n"})
    before = mirror(tmp_path)
    patch = f"--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-other\n+two\n"
    with pytest.raises(Broken, match="does not apply"):
        trees.commit("o/r", head, patch, "m", AT, origin.remote)
    number = before.stat().st_ino
    with (
        pytest.raises(Broken, match="does not apply"),
        trees.open("o/r", head, origin.remote) as tree,
    ):
        tree.apply(patch)
    assert before.stat().st_ino == number


def test_a_half_made_mirror_is_none(origin, trees, tmp_path):
    left = tmp_path / "state" / "mirrors" / "o" / ".r.git.0123"
    left.mkdir(parents=True)
    head = origin.commit({"a.txt": "one\n"})
    assert files(trees, origin, head) == {"a.txt": "one\n"}
    assert not left.exists()


# --- Many at a time ---------------------------------------------------------------------------


def read(root: Path, url: str, heads: list[Sha]) -> list[str]:
    trees = made(root)
    found = []
    for head in heads:
        with trees.open("o/r", head, Remote(url, "")) as tree:
            found.append((tree.path / "a.txt").read_text())
    trees.close()
    return found


def test_threads_and_processes_share_a_mirror(origin, tmp_path):
    heads = [origin.commit({"a.txt": f"{n}\n"}) for n in range(4)]
    url = origin.remote.url
    orders = [heads, heads[::-1], heads[2:] + heads[:2]]
    with (
        multiprocessing.get_context("spawn").Pool(2) as processes,
        ThreadPoolExecutor(2) as threads,
    ):
        far = [processes.apply_async(read, (tmp_path, url, order)) for order in orders]
        near = [threads.submit(read, tmp_path, url, order) for order in orders]
        found = [one.get(60) for one in far] + [one.result(60) for one in near]
    expected = [[f"{heads.index(head)}\n" for head in order] for order in orders]
    assert found == expected * 2


def test_a_mirror_may_break_while_many_use_it(origin, tmp_path):
    heads = [origin.commit({"a.txt": f"{n}\n"}) for n in range(3)]
    read(tmp_path, origin.remote.url, heads)
    emptied(mirror(tmp_path) / "HEAD")
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda _: read(tmp_path, origin.remote.url, heads), range(4))]
    assert found == [["0\n", "1\n", "2\n"]] * 4


# --- Growth -----------------------------------------------------------------------------------


def at(day: float) -> datetime:
    """Return the time so many days from now, by the clock that times files."""
    return datetime.fromtimestamp(time.time(), UTC) + timedelta(days=day)


def last_used(root: Path, head: Sha, when: datetime) -> None:
    ref = mirror(root) / "refs" / "regreen" / head
    os.utime(ref, (when.timestamp(), when.timestamp()))


def alone(origin: Origin, number: int, size: int) -> Sha:
    """Push a commit without history, which shares nothing with any other."""
    data = Random(number).randbytes(size).hex()
    text = (
        f"commit refs/heads/any\ncommitter P <p@example.org> {number} +0000\ndata 1\nm\n"
        f"deleteall\nM 100644 inline a.txt\ndata {len(data)}\n{data}\n"
    )
    origin.git("update-ref", "-d", "refs/heads/any", where=origin.bare)
    origin.git("fast-import", "--quiet", where=origin.bare, stdin=text.encode())
    return Sha(origin.at("any"))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_mirror_does_not_grow_without_bound(origin, trees, tmp_path):
    """One force-push a day: what lies there is what the last thirty days brought."""
    sizes, counts = [], []
    for day in range(50):
        head = alone(origin, day, 10_000)
        trees.files("o/r", head, origin.remote, ["a.txt"])
        last_used(tmp_path, head, at(day))
        trees.tidy(at(day + 0.5))
        sizes.append(size_of(mirror(tmp_path)))
        counts.append(len(names(tmp_path)))
    assert counts[20] == 21
    assert counts[-15:] == [30] * 15
    assert max(sizes) < sizes[29] * 1.2
    assert sizes[29] > 25 * 10_000
    origin.git("fsck", "--full", "--strict", where=mirror(tmp_path))


def test_what_is_used_is_kept_and_what_it_needs(origin, trees, tmp_path):
    old = origin.commit({"a.txt": "one\n"})
    new = origin.commit({"a.txt": "two\n"})
    gone = alone(origin, 1, 100)
    for head in (new, old, gone):  # the old one is there already, as an ancestor of the new
        trees.files("o/r", head, origin.remote, ["a.txt"])
    for head in (old, new, gone):
        last_used(tmp_path, head, at(-40))
    trees.files("o/r", old, origin.remote, ["a.txt"])  # is used again
    trees.tidy(at(2))
    assert names(tmp_path) == {old}
    held = origin.git("cat-file", "--batch-all-objects", "--batch-check", where=mirror(tmp_path))
    assert old in held
    assert new not in held
    assert gone not in held


def test_a_commit_in_the_making_is_left_alone(origin, trees, tmp_path):
    """Its objects have no name yet, but they are young."""
    head = origin.commit({"a.txt": "one\n"})
    trees.files("o/r", head, origin.remote, ["a.txt"])
    other = origin.commit({"a.txt": "two\n"})
    trees.files("o/r", other, origin.remote, ["a.txt"])
    blob = origin.git("hash-object", "-w", "--stdin", where=mirror(tmp_path), stdin=b"made")
    last_used(tmp_path, other, at(-40))
    os.utime(mirror(tmp_path) / "config", (1, 1))
    trees.tidy(at(0.5))
    assert names(tmp_path) == {head}
    assert origin.git("cat-file", "-p", blob, where=mirror(tmp_path)) == "made"


def test_a_tidy_mirror_is_left_alone(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    trees.files("o/r", head, origin.remote, ["a.txt"])
    trees.tidy(at(2))
    last_used(tmp_path, head, at(-40))
    trees.tidy(at(2.9))  # not due again
    assert names(tmp_path) == {head}
    trees.tidy(at(3.1))
    assert not mirror(tmp_path).exists()


def test_a_crowded_mirror_is_packed_within_the_hour(origin, trees, tmp_path):
    packs = mirror(tmp_path) / "objects" / "pack"
    left = packs / "tmp_pack_of_a_killed_one"
    for number in range(25):
        trees.files("o/r", alone(origin, number, 10), origin.remote, ["a.txt"])
    left.touch()
    os.utime(left, (1, 1))
    counts = []
    for hours in (0.5, 2):
        trees.tidy(at(hours / 24))
        counts.append((len([*packs.glob("*.pack")]), left.exists()))
    assert counts == [(25, True), (1, False)]
    origin.git("fsck", "--full", where=mirror(tmp_path))


def test_a_mirror_that_nobody_uses_goes_and_comes_back(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    trees.files("o/r", head, origin.remote, ["a.txt"])
    last_used(tmp_path, head, at(-31))
    trees.tidy(at(2))
    assert not mirror(tmp_path).exists()
    assert files(trees, origin, head) == {"a.txt": "one\n"}


def test_a_broken_mirror_is_thrown_away_when_it_is_tidied(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    trees.files("o/r", head, origin.remote, ["a.txt"])
    gone = alone(origin, 1, 100)
    trees.files("o/r", gone, origin.remote, ["a.txt"])
    last_used(tmp_path, gone, at(-40))
    emptied(mirror(tmp_path) / "HEAD")
    trees.tidy(at(2))
    assert not mirror(tmp_path).exists()


def test_tidying_runs_no_hook_and_reads_no_settings(origin, trees, tmp_path):
    """Even where somebody wrote into our mirror."""
    mark = tmp_path / "fired"
    head = origin.commit({"a.txt": "one\n"})
    gone = alone(origin, 1, 100)
    for one in (head, gone):
        trees.files("o/r", one, origin.remote, ["a.txt"])
    last_used(tmp_path, gone, at(-40))
    hooks = mirror(tmp_path) / "hooks"
    hooks.mkdir()
    for name in ("pre-auto-gc", "post-rewrite", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    trees.tidy(at(2))
    assert names(tmp_path) == {head}
    assert not mark.exists()
