"""Removes folders for good, and never forgets one that it could not remove.

What is to go is first moved into the data folder's `trash`, which takes no time and cannot half
succeed; a thread removes it from there. What resists stays and stands in `cleanup_queue.json`
(seed 1): `round` tries it again, later each time. So the trash and the queue survive a restart, and
what was in the trash without a place in the queue gets one.

The names below a folder may be anybody's. So nothing is removed by a path that could lead through
a link: folders are opened one by one, without following, and only what lies in one of our own
folders of the data folder is touched.
"""

import errno
import fcntl
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import msgspec
import structlog

FILE = "cleanup_queue.json"
TRASH = "trash"
OWN = frozenset(
    {TRASH, "trees", "mirrors", "setups"}
)  # the folders whose contents are ours to remove
_MOST_S = 600
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = structlog.get_logger("regreen")


class Item(msgspec.Struct, frozen=True):
    """A path that resists; times are seconds since 1970 (the format of seed 1)."""

    path: str
    attempts: int = 0
    next_try_at: float = 0.0
    added_at: float = 0.0
    reason: str = ""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did: how many it removed, and how many wait for a later one."""

    removed: int
    waiting: int


def backoff_s(attempts: int) -> float:
    """Return the wait after a failure, *attempts* of which came before: `min(600, 5·2^n)`."""
    return float(min(_MOST_S, 5 * 2 ** min(attempts, 10)))


def known(items: Sequence[Item], found: Mapping[str, str], now: float) -> tuple[Item, ...]:
    """Return the queue with a place for each path of *found*, which maps to its reason."""
    queued = {item.path for item in items}
    new = sorted(found.keys() - queued)
    return (*items, *(Item(path, added_at=now, reason=found[path]) for path in new))


def failed(item: Item, error: str, now: float) -> Item:
    """Return the item after one more failure."""
    return msgspec.structs.replace(
        item,
        attempts=item.attempts + 1,
        next_try_at=now + backoff_s(item.attempts),
        last_error=error,
    )


class Cleaner:
    """Removes what lies under *root*, the data folder, by *remove*, which raises OSError."""

    def __init__(self, root: Path, remove: Callable[[Path], None] | None = None) -> None:
        self._root = root.absolute()
        self._remove = remove or remove_all
        self._jobs: queue.Queue[Path] = queue.Queue()
        self._busy: set[str] = set()  # the names in the trash that the thread will see to
        self._stuck: dict[str, str] = {}  # paths that could not even be moved, and why they go
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def discard(self, path: Path, reason: str) -> None:
        """Take *path* away at once; it is removed soon after. *reason* is one word."""
        try:
            moved = self._moved(path, reason)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cleanup_waits", path=str(path), reason=str(error))
            self._stuck[str(path)] = reason
            return
        self._enqueue(moved)

    def resume(self) -> None:
        """See to what a process that is no more left in the trash."""
        queued = {item.path for item in self.waiting()}
        for path in sorted(self._found().keys() - queued):
            self._enqueue(Path(path))

    def settled(self) -> None:
        """Wait until everything that was discarded has been tried once."""
        self._jobs.join()

    def round(self, now: datetime) -> Round:
        """Try everything that is due; do nothing while another process does."""
        at = now.timestamp()
        with self._alone() as mine:
            if not mine:
                return Round(0, len(self.waiting()))
            items = known(self.waiting(), self._found() | self._stuck, at)
            left = [one for item in items if (one := self._tried(item, at)) is not None]
            self._save(left)
        return Round(len(items) - len(left), len(left))

    def waiting(self) -> tuple[Item, ...]:
        """Return the queue; one that cannot be read is put aside, for the trash knows the rest."""
        file = self._root / FILE
        try:
            return tuple(msgspec.json.decode(file.read_bytes(), type=list[Item]))
        except FileNotFoundError:
            return ()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("cleanup_queue_unreadable", reason=str(error))
            file.replace(file.with_suffix(".broken"))
            return ()

    def _enqueue(self, path: Path) -> None:
        with self._lock:
            self._busy.add(path.name)
            self._jobs.put(path)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="cleaner", daemon=True)
                self._worker.start()

    def _found(self) -> dict[str, str]:
        """Return what lies in the trash and nobody is at work on, and why it is there."""
        paths = list((self._root / TRASH).glob("*"))
        with self._lock:
            busy = tuple(self._busy)
        return {
            str(path): path.name.partition(".")[0]
            for path in paths
            if not path.name.startswith(busy)
        }

    def _tried(self, item: Item, now: float) -> Item | None:
        """Return what remains of an item: None once it is gone, or when it is none of ours."""
        if item.next_try_at > now:
            return item
        path = Path(item.path)
        try:
            with parent(self._root, path):  # in the trash or elsewhere: is it ours?
                pass
            if path.parent != self._root / TRASH:
                path = self._moved(path, item.reason)
            self._remove(path)
        except FileNotFoundError:
            pass
        except NotOurs as error:
            log.warning("cleanup_refused", path=item.path, reason=str(error))
        except OSError as error:
            if item.attempts == 0:
                log.warning("cleanup_failed", path=item.path, reason=str(error))
            return msgspec.structs.replace(failed(item, str(error), now), path=str(path))
        self._stuck.pop(item.path, None)
        return None

    def _moved(self, path: Path, reason: str) -> Path:
        """Move *path* into the trash, whatever it is, and return its new place."""
        trash = self._root / TRASH
        trash.mkdir(parents=True, exist_ok=True)
        moved = trash / f"{reason or 'item'}.{token_hex(8)}"
        with parent(self._root, path) as source, parent(self._root, moved) as target:
            if _is_folder(source, path.name):
                _grant(source, path.name)  # one without rights cannot be moved
            os.rename(path.name, moved.name, src_dir_fd=source, dst_dir_fd=target)
        return moved

    def _work(self) -> None:
        while True:
            path = self._jobs.get()
            with suppress(OSError):  # a round finds it in the trash
                self._remove(path)
            with self._lock:
                self._busy.discard(path.name)
            self._jobs.task_done()

    def _save(self, items: Sequence[Item]) -> None:
        """Write the queue whole or not at all."""
        file = self._root / FILE
        if not items and not file.exists():
            return
        made = file.with_name(f".{FILE}.{token_hex(4)}")
        made.write_bytes(msgspec.json.format(msgspec.json.encode(items), indent=2) + b"\n")
        made.replace(file)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Yield whether no other process cleans up now, and keep it so."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f"{FILE}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


class NotOurs(OSError):
    """A path that leads out of our folders, or is one of them."""


def remove_all(path: Path) -> None:
    """Remove *path* and all that is in it; raise OSError when something of it stays.

    Links are removed, never followed. Each folder is moved up beside *path* and emptied there, so
    that neither the depth of a tree nor the length of its paths matters.
    """
    with _opened(path.parent) as top:
        if not _is_folder(top, path.name):
            os.unlink(path.name, dir_fd=top)
            return
        names, problems = [path.name], list[OSError]()
        while names:
            name = names.pop()
            try:
                names += _emptied(top, name, f"{path.name}.{token_hex(4)}")
                os.rmdir(name, dir_fd=top)
            except FileNotFoundError:  # another process is at it, too
                continue
            except OSError as error:
                problems.append(error)
        if problems:
            raise problems[0]


def _emptied(top: int, name: str, prefix: str) -> list[str]:
    """Remove what is in the folder *name*; move its folders up and return their new names."""
    _grant(top, name)
    moved: list[str] = []
    with _opened(name, top) as folder, os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # then the folder does not go, which is told
                    os.unlink(entry.name, dir_fd=folder)
                continue
            up = f"{prefix}.{len(moved)}"
            try:
                _grant(folder, entry.name)
                os.rename(entry.name, up, src_dir_fd=folder, dst_dir_fd=top)
            except OSError:  # the same
                continue
            moved.append(up)
    return moved


def _grant(parent: int, name: str) -> None:
    """Give us all rights to a folder that may have taken its own away; a link is no folder."""
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101  # by descriptor: no race
    finally:
        os.close(handle)


def _is_folder(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


@contextmanager
def _opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def parent(root: Path, path: Path, own: frozenset[str] = OWN) -> Iterator[int]:
    """Yield the folder of *path*, reached from *root* without following a link.

    Raise NotOurs unless *path* lies below one of the folders *own* of *root*.
    """
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    first, *rest = parts or ("",)
    if first not in own or not rest or ".." in rest:
        raise NotOurs(errno.EPERM, "not in a folder that is ours to clean", str(path))
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (first, *rest[:-1]):
            try:
                inner = os.open(name, _FOLDER, dir_fd=folder)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    raise NotOurs(errno.EPERM, "leads through a link", str(path)) from error
                raise
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)
