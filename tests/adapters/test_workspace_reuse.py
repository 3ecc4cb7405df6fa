"""Trees that were used come back as good as new, or not at all."""

import mmap
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.errors import Broken
from bot.domain.values import Sha
from bot.workspace.git import Git
from bot.workspace.recycle import DEEPEST
from bot.workspace.worktree import GitTrees, Reuse
from tests.support.origins import NO_DUMP, Origin, flags, seen

FILES: Mapping[str, str | bytes] = {
    ".gitattributes": "*.bat text eol=crlf\n",
    ".gitignore": "build/\n",
    "a.txt": "one\n",
    "do.bat": "echo\n",
    "empty": "",
    "run.sh": "#!/bin/sh\n",
    "src/deep/x.py": "x = 1\n",
    "src/y.py": "y = 1\n",
    "src/z.bin": b"\x00\xff\r\n",
}


Seen = dict[Path, tuple[object, ...]]


def made(root: Path, reuse: Reuse | None = None) -> GitTrees:
    return GitTrees(root / "state", git=Git(protocols=("file",)), reuse=reuse)


def look(trees: GitTrees, origin: Origin, head: Sha) -> Seen:
    with trees.open("o/r", head, origin.remote) as tree:
        return seen(tree.path)


def begun(root: Path) -> tuple[Origin, Sha]:
    origin = Origin(root)
    (origin.clone / "link").symlink_to("src/y.py")
    (origin.clone / "run.sh").touch(mode=0o755)
    return origin, origin.commit(FILES)


@dataclass(frozen=True)
class Stage:
    """A repository with two commits, in a warm mirror; and how trees look that nobody used."""

    root: Path
    origin: Origin
    heads: tuple[Sha, Sha]
    looks: tuple[Seen, Seen]


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    root = tmp_path_factory.mktemp("stage")
    origin, head = begun(root)
    (origin.clone / "link").unlink()
    other = origin.commit({"link": "a file now\n", "a.txt": "newer\n", "src/n/n.py": "n = 1\n"})
    fresh = made(root, Reuse(each=0))
    return Stage(
        root, origin, (head, other), (look(fresh, origin, head), look(fresh, origin, other))
    )


@pytest.fixture
def trees(stage) -> Iterator[GitTrees]:
    found = made(stage.root)
    yield found
    found.close()


# --- What a run may leave ---------------------------------------------------------------------


def same_size_and_time(tree: Path) -> None:
    told = (tree / "a.txt").stat()
    (tree / "a.txt").write_text("two\n")
    os.utime(tree / "a.txt", ns=(told.st_atime_ns, told.st_mtime_ns))


def by_memory(tree: Path) -> None:
    with (tree / "a.txt").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:3] = b"two"


def other_line_ends(tree: Path) -> None:
    (tree / "do.bat").write_bytes(b"echo\n")  # git takes it for the same


def hard_link(tree: Path) -> None:
    (tree / "twin").hardlink_to(tree / "a.txt")


def hard_link_elsewhere(tree: Path) -> None:
    (tree / "twin").write_text("one\n")
    (tree / "a.txt").unlink()
    (tree / "a.txt").hardlink_to(tree / "twin")


def folder_is_a_link(tree: Path) -> None:
    (tree / "src").rename(tree / "elsewhere")
    (tree / "src").symlink_to(tree / "elsewhere")


def file_is_a_link(tree: Path) -> None:
    (tree / "a.txt").rename(tree / "twin")
    (tree / "a.txt").symlink_to("twin")


def file_is_a_folder(tree: Path) -> None:
    (tree / "a.txt").unlink()
    (tree / "a.txt").mkdir()
    (tree / "a.txt" / "in").write_text("x")


def folder_is_a_file(tree: Path) -> None:
    (tree / "src").rename(tree / "gone")
    (tree / "src").write_text("x")


def pipe(tree: Path) -> None:
    (tree / "a.txt").unlink()
    os.mkfifo(tree / "a.txt")
    os.mkfifo(tree / "src" / "pipe")


def listening(tree: Path) -> None:
    (tree / "a.txt").unlink()
    with chdir(tree), socket.socket(socket.AF_UNIX) as one:  # a socket's path must be short
        one.bind("a.txt")


def rights(tree: Path) -> None:
    (tree / "a.txt").chmod(0o600)
    (tree / "run.sh").chmod(0o4755)
    (tree / "src" / "y.py").chmod(0)
    (tree / "src").chmod(0o777)
    tree.chmod(0o1777)


def closed_folder(tree: Path) -> None:
    (tree / "src" / "deep").chmod(0)


def closed_tree(tree: Path) -> None:
    tree.chmod(0)


def attributes(tree: Path) -> None:
    os.setxattr(tree / "a.txt", "user.note", b"from the run before")
    os.setxattr(tree / "src", "user.note", b"from the run before")


def inode_flags(tree: Path) -> None:
    for path in (tree / "a.txt", tree / "src"):
        flags(path, (flags(path) or 0) | NO_DUMP)


def nested(tree: Path) -> None:
    for name in (".git", "s/.git"):
        (tree / name / "hooks").mkdir(parents=True)
        (tree / name / "config").write_text("[core]\n\tfsmonitor = touch fired\n")
    (tree / "s" / "t").mkdir()
    (tree / "s" / "t" / ".git").write_text("gitdir: ../../.git\n")


def deep(tree: Path) -> None:
    with chdir(tree):
        for _ in range(1100):  # more than a path may be long, and than Python recurses
            Path("deeper").mkdir()
            os.chdir("deeper")
        Path("bottom").touch()


def odd_names(tree: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b"a" * 255):
        (tree / os.fsdecode(name)).touch()
    (tree / "s" / "..." / "x").mkdir(parents=True)


def huge(tree: Path) -> None:
    with (tree / "huge").open("wb") as file:
        file.truncate(1 << 40)


def many(tree: Path) -> None:
    (tree / "many").mkdir()
    for number in range(300):
        (tree / "src" / f"extra{number}").touch()
        (tree / "many" / f"{number}").mkdir()


def ignored(tree: Path) -> None:
    (tree / "build").mkdir()
    (tree / "build" / "poison.py").write_text("x")
    (tree / "s" / "__pycache__").mkdir(parents=True)
    (tree / "s" / "__pycache__" / "y.pyc").write_text("x")


def empty_folder(tree: Path) -> None:
    (tree / "conftest").mkdir()


def deleted(tree: Path) -> None:
    for name in ("a.txt", "link", "src/y.py", ".gitattributes"):
        (tree / name).unlink()


def other_attributes(tree: Path) -> None:
    (tree / ".gitattributes").write_text("* text eol=crlf filter=x ident\n")
    (tree / "a.txt").write_bytes(b"one\r\n")
    (tree / "more").mkdir()
    (tree / "more" / ".gitattributes").write_text("* -text working-tree-encoding=UTF-16\n")


def link_leads_elsewhere(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("/etc/passwd")


def nothing(tree: Path) -> None:
    assert tree.is_dir()


ACTS = [
    *(nothing, same_size_and_time, by_memory, other_line_ends, hard_link, hard_link_elsewhere),
    *(folder_is_a_link, file_is_a_link, file_is_a_folder, folder_is_a_file, pipe, listening),
    *(
        rights,
        closed_folder,
        closed_tree,
        attributes,
        inode_flags,
        nested,
        deep,
        odd_names,
        huge,
        many,
        ignored,
    ),
    *(empty_folder, deleted, other_attributes, link_leads_elsewhere),
]

ACTS_ANYWHERE = [nothing, odd_names, ignored, empty_folder, nested]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_nothing_of_a_run_is_seen_by_the_next(stage, trees, act):
    (head, other), (fresh, fresh_other) = stage.heads, stage.looks
    with trees.open("o/r", head, stage.origin.remote) as tree:
        used = tree.path
        act(tree.path)
    with trees.open("o/r", head, stage.origin.remote) as tree:
        assert tree.path == used  # it was recycled, so this test is about something
        assert seen(tree.path) == fresh
        assert tree.diff() == ""
        act(tree.path)
    with trees.open("o/r", other, stage.origin.remote) as tree:
        assert tree.path == used
        assert seen(tree.path) == fresh_other
        assert tree.diff() == ""
    trees.close()
    assert [*(stage.root / "state" / "trees").iterdir()] == []
    assert [*(stage.root / "state" / "trash").iterdir()] == []


def test_times_tell_nothing_of_the_run_before(stage, trees):
    with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
        for path in (tree.path / "a.txt", tree.path / "src", tree.path / "src" / "y.py"):
            os.utime(path, (1, 2))
        used = tree.path
    began = used.parent.stat().st_ctime_ns  # by the clock that times files
    with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
        assert tree.path == used
        times = [path.lstat() for path in [tree.path, *tree.path.rglob("*")]]
        assert min(min(one.st_atime_ns, one.st_mtime_ns) for one in times) >= began


def test_what_was_not_touched_is_not_written_again(stage, trees):
    numbers = []
    for _ in range(2):
        with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
            numbers.append({name: (tree.path / name).stat().st_ino for name in ("a.txt", "empty")})
            (tree.path / "new").touch()
    assert numbers[0] == numbers[1]


def test_two_at_a_time_have_each_their_own(stage, trees):
    head, remote = stage.heads[0], stage.origin.remote
    with trees.open("o/r", head, remote):
        pass
    with trees.open("o/r", head, remote) as one, trees.open("o/r", head, remote) as two:
        (one.path / "a.txt").write_text("mine\n")
        assert (two.path / "a.txt").read_text() == "one\n"


def test_a_tree_that_git_does_not_find_exact_is_thrown_away(stage):
    def careless(old: Path, fresh: Path, *_: object) -> int:
        old.rename(fresh)
        return 1

    trees = made(stage.root, Reuse(carry=careless))
    with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
        used = tree.path
        ignored(tree.path)
    with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
        assert tree.path != used
        assert not (tree.path / "build").exists()
    trees.close()


def test_a_tree_that_is_nested_beyond_reason_makes_no_diff(stage, trees):
    with trees.open("o/r", stage.heads[0], stage.origin.remote) as tree:
        deep(tree.path)
        with pytest.raises(Broken, match="cannot be read: File name too long"):
            tree.diff()


def test_trees_of_one_repository_are_never_those_of_another(tmp_path):
    origin, other, trees = Origin(tmp_path), Origin(tmp_path, "s"), made(tmp_path)
    head, theirs = origin.commit({"a.txt": "ours\n"}), other.commit({"b.txt": "theirs\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        used = tree.path
        (tree.path / "a.txt").write_text("secret\n")
    with trees.open("o/s", theirs, other.remote) as tree:
        assert tree.path != used
        assert [path.name for path in tree.path.iterdir()] == ["b.txt"]
    trees.close()


def test_a_tree_with_other_attributes_is_written_anew(tmp_path):
    origin, head = begun(tmp_path)
    other = origin.commit({".gitattributes": "*.txt text eol=crlf\n"})
    trees, fresh = made(tmp_path), made(tmp_path, Reuse(each=0))
    look(trees, origin, head)
    assert look(trees, origin, other) == look(fresh, origin, other)
    trees.close()


def test_a_tree_too_deep_to_be_proved_is_thrown_away(tmp_path):
    origin, trees = Origin(tmp_path), made(tmp_path)
    head = origin.commit({"/".join(["d"] * (DEEPEST + 1)) + "/f": "x\n"})
    look(trees, origin, head)
    assert [*(tmp_path / "state" / "trees").iterdir()] == []


def test_only_so_many_trees_lie_ready(tmp_path):
    origin, trees = Origin(tmp_path), made(tmp_path, Reuse(each=1, most=1))
    head = origin.commit({"a": "1\n"})
    with trees.open("o/r", head, origin.remote), trees.open("o/r", head, origin.remote):
        pass
    assert len([*(tmp_path / "state" / "trees").iterdir()]) == 1
    trees.close()


def test_trees_that_nobody_asks_for_go_after_a_while(tmp_path):
    origin, trees = Origin(tmp_path), made(tmp_path)
    look(trees, origin, origin.commit({"a": "1\n"}))
    now = datetime(2026, 1, 2, tzinfo=UTC)
    left = []
    for hours in (0, 0.5, 2, 4):
        trees.tidy(now + timedelta(hours=hours))
        left.append(len([*(tmp_path / "state" / "trees").iterdir()]))
    assert left == [1, 1, 0, 0]


def test_spares_of_a_process_that_is_no_more_are_swept(tmp_path):
    origin, before, after = Origin(tmp_path), made(tmp_path), made(tmp_path)
    head = origin.commit({"a": "1\n"})
    with before.open("o/r", head, origin.remote) as tree:
        used = tree.path.parent
    after.sweep()
    assert used.exists()  # its process lives
    for holder in before._pool.emptied():
        holder.release()  # as the kernel does for the dead
    after.sweep()
    assert not used.exists()


# --- Any history ------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/f", "e", "x.bat", ".gitattributes"])
CONTENTS = st.sampled_from(
    ["", "1\n", "2\n", "1\r\n", "->a", "->d", "+1\n", "*.bat text eol=crlf\n"]
)
TREES = st.lists(st.dictionaries(NAMES, CONTENTS, min_size=1), min_size=2, max_size=4)


def written(origin: Origin, files: Mapping[str, str]) -> Sha:
    """Commit exactly these files: `->x` is a link to x, `+x` a program of the text x."""
    stream = ["commit refs/heads/any\ncommitter P <p@example.org> 0 +0000\ndata 1\nm\ndeleteall\n"]
    for name, content in files.items():
        if not any(other.startswith(f"{name}/") for other in files):
            mode = {"->": "120000", "+1": "100755"}.get(content[:2], "100644")
            data = content.removeprefix("->").removeprefix("+")
            stream.append(f"M {mode} inline {name}\ndata {len(data)}\n{data}\n")
    text = "".join(stream).encode()
    origin.git("fast-import", "--quiet", "--force", where=origin.bare, stdin=text)
    return Sha(origin.at("any"))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories=TREES, chosen=st.lists(st.sampled_from(ACTS_ANYWHERE), min_size=4, max_size=4))
def test_a_reused_tree_is_a_new_one_whatever_came_before(tmp_path_factory, histories, chosen):
    tmp_path = tmp_path_factory.mktemp("any")
    origin = Origin(tmp_path)
    trees, fresh = made(tmp_path), made(tmp_path, Reuse(each=0))
    for files, act in zip([*histories, histories[0]], chosen, strict=False):
        head = written(origin, files)
        expected = look(fresh, origin, head)
        with trees.open("o/r", head, origin.remote) as tree:
            assert seen(tree.path) == expected
            act(tree.path)
    trees.close()
    fresh.close()
