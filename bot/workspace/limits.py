"""What all processes of one command may use together, and how they must behave, seen from outside.

The kernel holds each process to its limits (`prlimit`); what many use together it counts in cgroups
only, which a server seldom has. So twice a second their memory and the disk are looked at, and the
command is killed when there is too much of it. A look comes late by what is used in half a second:
some of both must stay free besides, whoever uses them.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from bot.config.schema import SandboxConfig
from bot.domain.ports import Kit, Watch
from bot.workspace import process

MB = 1024 * 1024
FILE_MB = 1024  # largest file
TMP_MB = 1024  # size of /tmp and of the home folder, each
SHM_MB = 64  # size of /dev/shm, as engines of containers have it
OPEN_FILES = 4096
CIRCLES = 20  # how often a command may print that it goes round in circles
FREE_MB = 256  # how much of the disk must stay free, and of the memory, if it is no small machine
_FILES = 2_000_000  # how many files a command may add to the disk
_FREE_FILES = 10_000
_DU_S = 30.0


class Limits:
    """The limits of one command; close it when the command has ended."""

    def __init__(self, config: SandboxConfig, tree: Path, kit: Kit) -> None:
        self._config = config
        self._watch = kit.watch
        places = [tree] if kit.home is None else [tree, kit.home]
        # Descriptors, since the thread that watches may have mounts of its own.
        self._places = [os.open(place, os.O_PATH | os.O_CLOEXEC) for place in places]
        self._before = [os.statvfs(place) for place in self._places]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            os.close(place)

    def fault(self, top: psutil.Process, output: process.Output) -> process.Fault | None:
        """Return which limit is broken now, if one is."""
        family = [top, *top.children(recursive=True)]
        reason = self._greed(family) or self._disk(family)
        return _manners(output, self._watch) if reason is None else process.Fault(reason)

    def _greed(self, family: Sequence[psutil.Process]) -> str | None:
        if len(family) > self._config.processes + _OURS:
            return f"more than {self._config.processes} processes"
        # Pages that a fork shares are in the count of each process: look closely if it matters.
        most = self._config.memory_mb * MB
        if sum(map(_at_most, family)) > most and sum(map(_share, family)) > most:
            return f"more than {self._config.memory_mb} MB of memory"
        machine = psutil.virtual_memory()
        if machine.available < min(FREE_MB * MB, machine.total // 20):
            return "this machine has almost no memory left"
        return None

    def _disk(self, family: Sequence[psutil.Process]) -> str | None:
        most = self._config.disk_mb * MB
        for place, before in zip(self._places, self._before, strict=True):
            now = os.statvfs(place)
            if now.f_bavail * now.f_frsize < FREE_MB * MB:
                return "too much disk space used"
            # Others write to the disk as well: look closely if it matters.
            used = (before.f_bfree - now.f_bfree) * now.f_frsize
            if used > most and _held(place) + _unlinked(place, family) > most:
                return "too much disk space used"
            files = before.f_ffree - now.f_ffree  # both are 0 where the file system has no count
            if files > _FILES or (before.f_favail > 0 and now.f_favail < _FREE_FILES):
                return "too many files made"
        return None


_OURS = 3  # bubblewrap twice, and what leads to the gateway


def _manners(output: process.Output, watch: Watch) -> process.Fault | None:
    """Return why a command is given up for what it prints."""
    if watch.quiet_s is not None and output.silent_s > watch.quiet_s:
        return process.Fault(f"no output for {watch.quiet_s:g} s", timed_out=True)
    if watch.most_bytes is not None and output.size > watch.most_bytes:
        return process.Fault(f"more than {watch.most_bytes} bytes of output", endless=True)
    if watch.circle and output.count(watch.circle.encode()) >= CIRCLES:
        return process.Fault("it went round in circles", endless=True)
    return None


def _at_most(member: psutil.Process) -> int:
    """Return the bytes of its own and of shared memory that a process uses, 0 when it has ended.

    Files that are mapped do not count, here and below: the kernel gives them back at need.
    """
    return _sum(f"/proc/{member.pid}/status", b"RssAnon:", b"RssShmem:") or 0


def _share(member: psutil.Process) -> int:
    """Return the same bytes, but of what several processes share only this one's part."""
    share = _sum(f"/proc/{member.pid}/smaps_rollup", b"Pss_Anon:", b"Pss_Shmem:")
    return _at_most(member) if share is None else share


def _held(place: int) -> int:
    """Return the bytes of the files below a folder, those that were there before among them."""
    command = ("du", "--summarize", "--one-file-system", "--block-size=1", "--")
    folder = f"/proc/{os.getpid()}/fd/{place}/."
    try:
        told = process.call(
            (*command, folder), env={"PATH": os.defpath, "LC_ALL": "C"}, timeout_s=_DU_S
        )
    except (OSError, TimeoutError):  # then what the disk says must do
        return sys.maxsize
    # Files may vanish meanwhile. A folder that cannot be read may hide any number of them.
    faults = told.stderr.splitlines()
    if not told.stdout or any(not one.endswith("No such file or directory") for one in faults):
        return sys.maxsize
    return int(told.stdout.split()[0])


def _unlinked(place: int, family: Sequence[psutil.Process]) -> int:
    """Return the bytes of files on the same disk that have no name any more, but are held open."""
    disk, found = os.fstat(place).st_dev, {}
    for member in family:
        with suppress(OSError):
            for one in os.scandir(f"/proc/{member.pid}/fd"):
                with suppress(OSError):
                    file = os.stat(one.path)  # noqa: PTH116  # what the link leads to, not its text
                    if file.st_nlink == 0 and file.st_dev == disk:
                        found[file.st_ino] = file.st_blocks * 512
    return sum(found.values())


def _sum(path: str, *names: bytes) -> int | None:
    """Return the sum of these lines, which are in kB, or None when they cannot be read."""
    found = []
    with suppress(OSError), open(path, "rb") as lines:  # noqa: PTH123  # a thousand times a look
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(names)]
    return sum(found) if found else None
