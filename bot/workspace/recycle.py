"""What of a used tree may be used again: the files that are proved to be as git wrote them.

Whatever ran in a tree may have left anything anywhere, so nothing is cleaned in place. The proven
files are moved to a new folder, in folders that are all new; the rest is left behind for good. A
file is proven when its name leads to it through folders only, it is an ordinary file with this one
name, its bytes are the blob's, its mode, owner and extended attributes are those of a file that git
wrote just now, and nothing about it has changed since the tree was sealed. The kernel's change time
says so: no program can set it, and it tells of what is not looked at, such as inode flags.

Links, and files that git converts on their way out, are never proven; git writes them again. The
times of the files are set anew before the next use (`touch`).
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

DEEPEST = 100  # folders in folders; a deeper tree is not worth the care
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of an index: its git mode (such as 0o100755), its object, where it lies."""

    mode: int
    blob: str
    path: str


@dataclass(frozen=True, slots=True)
class Look:
    """How the files look that git writes here and now; `sealed_ns` is when they were last ours."""

    modes: Mapping[int, int]  # by git's mode
    owner: tuple[int, int]
    attributes: Mapping[str, bytes]
    sealed_ns: int


def seal(holder: Path) -> Look:
    """Return how files made in *holder* look; what changes after this call is not ours.

    Files are timed by a clock that ticks every few milliseconds: it has to tick once.
    """
    plain, program = holder / "plain", holder / "program"
    for path, mode in ((plain, 0o666), (program, 0o777)):
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    found, other = plain.stat(), program.stat()
    with _descriptor(str(plain), os.O_RDONLY, None) as file:
        attributes = _attributes(file)
    sealed_ns = other.st_ctime_ns
    while program.stat().st_ctime_ns <= sealed_ns:
        time.sleep(0.001)
        os.utime(program)
    return Look(
        modes={0o100644: found.st_mode, 0o100755: other.st_mode},
        owner=(found.st_uid, found.st_gid),
        attributes=attributes,
        sealed_ns=sealed_ns,
    )


def entries(listed: bytes) -> tuple[Entry, ...]:
    """Read `git ls-files --stage -z`: `mode SP object SP stage TAB path NUL` each."""
    found = []
    for line in listed.split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, blob, _ = about.decode().split()
        found.append(Entry(int(mode, 8), blob, os.fsdecode(path)))
    return tuple(found)


def carry(old: Path, new: Path, index: Sequence[Entry], look: Look) -> int:
    """Move what is proven from *old* to *new*, which must not exist yet; return how many files.

    Raise OSError when the new folders cannot be made.
    """
    new.mkdir()
    carried = 0
    for folder, files in groupby(index, lambda entry: os.path.dirname(entry.path)):  # noqa: PTH120
        (new / folder).mkdir(parents=True, exist_ok=True)
        with suppress(OSError), _through(old, folder) as source, _through(new, folder) as target:
            for entry in files:
                name = os.path.basename(entry.path)  # noqa: PTH119  # quick, for many
                if _proven(source, name, entry, look):
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                    carried += 1
    return carried


def touch(tree: Path) -> None:
    """Give everything in a tree the present time, as if it had just been written."""
    folders = [str(tree)]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as found:
            for entry in found:
                os.utime(entry.path, follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    os.utime(tree)


def _proven(folder: int, name: str, entry: Entry, look: Look) -> bool:
    try:
        told = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not _looks(told, entry, look):
            return False
        with _descriptor(name, _FILE, folder) as file:
            return _attributes(file) == look.attributes and _blob(file, entry.blob) == entry.blob
    except OSError:
        return False


def _looks(told: os.stat_result, entry: Entry, look: Look) -> bool:
    return (
        told.st_mode == look.modes.get(entry.mode)  # which says that it is an ordinary file
        and told.st_nlink == 1
        and (told.st_uid, told.st_gid) == look.owner
        and told.st_ctime_ns <= look.sealed_ns
    )


def _attributes(file: int) -> dict[str, bytes]:
    return {name: os.getxattr(file, name) for name in os.listxattr(file)}


def _blob(file: int, like: str) -> str:
    """Return the name that git gives to these bytes, by the hash that *like* is made with."""
    kind = "sha1" if len(like) == 40 else "sha256"  # noqa: PLR2004  # hexadecimal digits
    digest = hashlib.new(kind, b"blob %d\0" % os.fstat(file).st_size, usedforsecurity=False)
    while chunk := os.read(file, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _descriptor(name: str, flags: int, folder: int | None) -> Iterator[int]:
    file = os.open(name, flags, dir_fd=folder)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _through(tree: Path, folder: str) -> Iterator[int]:
    """Yield a folder of the tree, reached through folders only."""
    reached = os.open(tree, _FOLDER)
    try:
        for name in folder.split("/") if folder else ():
            inner = os.open(name, _FOLDER, dir_fd=reached)
            os.close(reached)
            reached = inner
        yield reached
    finally:
        os.close(reached)
