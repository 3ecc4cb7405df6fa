"""What is to go goes, sooner or later, and nothing else does."""

import errno
import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import TryLater
from bot.workspace.cleanup import Cleaner, Item, Round, backoff_s, failed, known, remove_all
from bot.workspace.upkeep import Upkeep

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AT = NOW.timestamp()
NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Be nobody, whom rights bind, and have a folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.geteuid() == 0
        if root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "trees").mkdir(parents=True)
    (tmp_path / "data" / "regreen.db").write_text("rows")
    return tmp_path / "data"


@pytest.fixture
def cleaner(data) -> Cleaner:
    return Cleaner(data)


def tree(data: Path, name: str = "x") -> Path:
    path = data / "trees" / name
    (path / "d").mkdir(parents=True)
    (path / "d" / "f").write_text("x")
    return path


def trash(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "trash").iterdir())


def queue(data: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((data / "cleanup_queue.json").read_text())
    return found


# --- The rules --------------------------------------------------------------------------------


def test_the_wait_doubles_up_to_ten_minutes():
    waits = [backoff_s(attempts) for attempts in range(9)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert backoff_s(10_000) == 600


def test_a_failure_is_remembered_with_its_reason_and_the_next_time():
    once = failed(Item("/d/trash/tree.1", added_at=AT, reason="tree"), "busy", AT + 1)
    assert once == Item("/d/trash/tree.1", 1, AT + 6, AT, "tree", "busy")
    assert failed(once, "still busy", AT + 6) == Item(
        "/d/trash/tree.1", 2, AT + 16, AT, "tree", "still busy"
    )


ITEMS = st.lists(st.builds(Item, path=st.sampled_from("abcdef")), unique_by=lambda item: item.path)
FOUND = st.dictionaries(st.sampled_from("abcdefgh"), st.just("tree"))


@given(items=ITEMS, found=FOUND)
def test_every_path_has_one_place_in_the_queue(items, found):
    queue = known(items, found, AT)
    assert [*queue[: len(items)]] == items
    assert sorted(item.path for item in queue) == sorted({item.path for item in items} | {*found})


# --- Removing ---------------------------------------------------------------------------------


def test_a_discarded_folder_is_away_at_once_and_gone_soon(cleaner, data):
    path = tree(data)
    cleaner.discard(path, "tree")
    assert not path.exists()
    cleaner.settled()
    assert trash(data) == []
    assert not (data / "cleanup_queue.json").exists()


def test_what_is_not_there_needs_no_removal(cleaner, data):
    cleaner.discard(data / "trees" / "none", "tree")
    cleaner.discard(data / "mirrors" / "none" / "none", "mirror")
    assert cleaner.round(NOW) == Round(0, 0)


def test_rights_that_were_taken_away_are_no_obstacle():
    with unprivileged() as folder:
        path = folder / "x"
        (path / "closed" / "in").mkdir(parents=True)
        (path / "closed" / "in" / "f").touch()
        (path / "read only").mkdir()
        (path / "read only" / "f").touch()
        for name in ("closed/in", "closed", "read only", "."):
            (path / name).chmod(0 if "closed" in name else 0o500)
        remove_all(path)
        assert [*folder.iterdir()] == []


def test_no_tree_is_too_deep(tmp_path):
    (tmp_path / "x").mkdir()
    with chdir(tmp_path / "x"):
        for _ in range(1100):
            Path("deeper").mkdir()
            os.chdir("deeper")
    remove_all(tmp_path / "x")
    assert [*tmp_path.iterdir()] == []


def test_links_are_removed_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True, mode=0o500)
    (tmp_path / "x").mkdir()
    for name, target in (("a", outside), ("b", outside / "kept"), ("c", "/"), ("d", "nowhere")):
        (tmp_path / "x" / name).symlink_to(target)
    remove_all(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").stat().st_mode & 0o777 == 0o500


def test_odd_files_are_removed(tmp_path):
    path = tmp_path / "x"
    path.mkdir()
    os.mkfifo(path / "pipe")
    (path / os.fsdecode(b"\xff\n")).touch()
    with (path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    (path / "twin").hardlink_to(path / "huge")
    remove_all(path)
    assert not path.exists()


def test_a_file_is_removed_like_a_folder(tmp_path):
    (tmp_path / "f").touch()
    remove_all(tmp_path / "f")
    assert [*tmp_path.iterdir()] == []


# --- What resists -----------------------------------------------------------------------------


@dataclass
class Remover:
    """Removes nothing while `busy`, as where another process holds a file; counts its tries."""

    busy: bool = True
    tried: list[str] = field(default_factory=list)

    def __call__(self, path: Path) -> None:
        self.tried.append(path.name)
        if self.busy:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        remove_all(path)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_what_resists_is_stored_and_tried_again_later_each_time(data):
    remover = Remover()
    cleaner = Cleaner(data, remover)
    cleaner.discard(tree(data), "tree")
    cleaner.settled()
    (name,) = trash(data)
    rounds = [cleaner.round(later(seconds)) for seconds in (0, 4, 5, 14, 15)]
    assert rounds == [Round(0, 1)] * 5
    assert remover.tried == [name] * 4  # at once, then after 0, 5 and 15 seconds
    assert queue(data) == [
        {
            "path": str(data / "trash" / name),
            "attempts": 3,
            "next_try_at": AT + 15 + 20,
            "added_at": AT,
            "reason": "tree",
            "last_error": f"[Errno 16] Device or resource busy: '{data}/trash/{name}'",
        }
    ]
    remover.busy = False
    assert cleaner.round(later(35)) == Round(1, 0)
    assert (trash(data), queue(data)) == ([], [])


def test_the_queue_survives_a_restart(data):
    before = Cleaner(data, Remover())
    before.discard(tree(data), "tree")
    before.settled()
    before.round(NOW)
    after = Cleaner(data)
    after.resume()
    after.settled()
    assert len(trash(data)) == 1  # its time has not come
    assert after.round(later(1)) == Round(0, 1)
    assert after.round(later(5)) == Round(1, 0)
    assert trash(data) == []


def test_a_killed_process_leaves_nothing_that_the_next_does_not_remove_all(data):
    tree(data).rename(data / "trash")  # moved, and then killed
    after = Cleaner(data)
    after.resume()
    after.settled()
    assert trash(data) == []


def test_what_could_not_even_be_moved_is_not_forgotten(cleaner, data):
    (data / "trash").write_text("in the way")
    path = tree(data)
    cleaner.discard(path, "tree")
    assert cleaner.round(NOW) == Round(0, 1)
    assert [item["path"] for item in queue(data)] == [str(path)]
    (data / "trash").unlink()
    assert Cleaner(data).round(later(5)) == Round(1, 0)
    assert not path.exists()


def test_of_two_processes_one_cleans_up(cleaner, data):
    with (data / "cleanup_queue.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (data / "trash" / "tree.1").mkdir(parents=True)
        assert cleaner.round(NOW) == Round(0, 0)
    assert cleaner.round(NOW) == Round(1, 0)


@pytest.mark.parametrize("content", ["", "{", '{"path": 1}', '[{"no": "path"}]', "\udcff"])
def test_a_queue_that_cannot_be_read_is_put_aside(cleaner, data, content):
    (data / "cleanup_queue.json").write_text(content, errors="surrogateescape")
    (data / "trash" / "tree.1").mkdir(parents=True)
    assert cleaner.round(NOW) == Round(1, 0)
    assert (data / "cleanup_queue.broken").exists()


def test_a_queue_of_the_seed_is_understood(cleaner, data):
    path = tree(data)
    items = [{"path": str(path), "attempts": 2, "next_try_at": AT, "added_at": AT, "reason": "x"}]
    (data / "cleanup_queue.json").write_text(json.dumps(items))
    assert cleaner.round(NOW) == Round(1, 0)
    assert not path.exists()


# --- Attacks ----------------------------------------------------------------------------------


def planted(data: Path, *paths: Path | str) -> None:
    items = [{"path": str(path), "attempts": 0, "next_try_at": 0} for path in paths]
    (data / "cleanup_queue.json").write_text(json.dumps(items))


def test_nothing_outside_our_folders_is_removed(cleaner, data, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (data / "trees" / "link").symlink_to(outside)
    (data / "mirrors").symlink_to(outside)
    (data / "features").mkdir()
    planted(
        data,
        *(outside, outside / "deep", data, data / "regreen.db", data / "features", data / "trees"),
        *(data / "trees" / "link" / "deep", data / "mirrors" / "deep", "trees/x", "/", ""),
        *(data / "trees" / ".." / ".." / "outside", f"{data}/trees/../regreen.db"),
        *(data / "trash" / "..", data / "trees" / "..", data / "trash"),
    )
    assert cleaner.round(NOW) == Round(16, 0)  # struck off, not removed
    assert (outside / "deep").is_dir()
    assert (data / "regreen.db").read_text() == "rows"
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == [
        "features",
        "mirrors",
        "trees",
    ]


def test_of_a_link_only_the_link_is_removed(cleaner, data, tmp_path):
    (tmp_path / "outside").mkdir()
    (data / "trees" / "link").symlink_to(tmp_path / "outside")
    planted(data, data / "trees" / "link")
    assert cleaner.round(NOW) == Round(1, 0)
    assert (tmp_path / "outside").is_dir()
    assert [*(data / "trees").iterdir()] == []


def test_a_trash_that_is_a_link_is_not_used(cleaner, data, tmp_path):
    (tmp_path / "outside").mkdir()
    (data / "trash").symlink_to(tmp_path / "outside")
    path = tree(data)
    cleaner.discard(path, "tree")
    cleaner.round(NOW)
    assert [*(tmp_path / "outside").iterdir()] == []
    assert path.exists()


def test_many_threads_may_discard_while_rounds_go_on(cleaner, data):
    def discard(name: str) -> None:
        for number in range(20):
            cleaner.discard(tree(data, f"{name}{number}"), "tree")

    threads = [threading.Thread(target=discard, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        cleaner.round(NOW)
    cleaner.settled()
    assert cleaner.round(later(600)).waiting == 0
    assert ([*(data / "trees").iterdir()], trash(data)) == ([], [])


# --- All of it --------------------------------------------------------------------------------


def test_a_round_that_fails_stops_no_other():
    done: list[datetime] = []

    def failing(now: datetime) -> None:
        done.append(now)
        raise TryLater("the disk is full")

    Upkeep(failing, done.append).round(NOW)
    assert done == [NOW, NOW]
