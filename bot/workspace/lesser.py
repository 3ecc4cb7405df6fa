"""Lends a command a user of its own, so that root's rights do not reach into the sandbox.

Root owns most of what a sandbox is shown: its processes could read what only root may read, and the
kernel counts no processes of root's. So when we are root, each command runs as a user that exists
nowhere else and owns nothing. Two things must then be arranged, in a mount namespace that only the
command's thread has:

- the user may not enter root's folders: what is to be shown is put on a stage, away from them;
- the tree must stay root's on disk, yet belong to the user: its mount translates the owner, both
  ways (an idmapped mount, Linux 5.12; https://docs.kernel.org/filesystems/idmappings.html).

Both are made of file descriptors by system calls that Python has no names for. File systems without
such translation (NFS, overlayfs, ZFS before 2.2) raise OSError.
"""

import ctypes
import os
import random
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bot.domain.errors import NeedsPerson

T = TypeVar("T")

_STAGE = Path("/run/regreen-sandbox")  # an empty folder of root's, covered in our namespaces
_UNSHARE, _SETPRIV = "/usr/bin/unshare", "/usr/bin/setpriv"  # both of util-linux
_FIRST, _STEP, _LAST = 1_900_000_000, 1_000, 2_100_000_000  # used by nothing that is known
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_CLONED, _FROM_DESCRIPTOR = 1, 4
_IDMAP = 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the sandbox sees at `at`.

    `own` ones it may change; a `door` is a socket that it may connect to.
    """

    source: Path
    at: str
    own: bool = False
    door: bool = False

    def words(self) -> tuple[str, str, str]:
        """Return bubblewrap's arguments; what only may be shown need not exist."""
        return ("--bind" if self.own else "--ro-bind-try", str(self.source), self.at)


class Users:
    """The users that this process lends, each to one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = random.randrange(_FIRST, _LAST, _STEP)  # noqa: S311  # no secret: apart from other servers
        self._free: list[tuple[int, int]] = []

    @contextmanager
    def one(self) -> Iterator[tuple[int, int]]:
        """Yield a user's number, and a descriptor of the namespace that maps root to it."""
        with self._lock:
            user = self._free.pop() if self._free else None
            if user is None:
                user = (self._next, _mapped(self._next))
                self._next += 1
        try:
            yield user
        finally:
            with self._lock:
                self._free.append(user)


_USERS = Users()


def lent(binds: Sequence[Bind], work: Callable[[Sequence[Bind], int], T]) -> T:
    """Return what *work* returns, given the binds as a user may see them, and that user.

    It runs in a thread of its own, whose mounts end with it. Raises OSError when this kernel cannot
    do it, NeedsPerson when the file system cannot.
    """
    context, ended = copy_context(), Future[T]()

    def run() -> None:
        try:
            with _USERS.one() as (user, mapping):
                ended.set_result(context.run(work, _staged(binds, mapping), user))
        except BaseException as error:  # noqa: BLE001  # the caller's thread raises it
            ended.set_exception(error)

    thread = threading.Thread(target=run, name="sandbox", daemon=True)
    thread.start()
    thread.join()
    return ended.result()


def become(user: int | None) -> list[str]:
    """Return the words that turn root into a lent user and lead to a command; none for None.

    Not by `Popen`, which forks for it: that takes long where the server has grown large.
    """
    if user is None:
        return []
    return [_SETPRIV, "--reuid", str(user), "--regid", str(user), "--clear-groups", "--"]


def _staged(binds: Sequence[Bind], mapping: int) -> list[Bind]:
    """Put each bind on the stage, the own ones with their owner translated."""
    _STAGE.mkdir(mode=0o755, exist_ok=True)
    _called(_libc.unshare(_CLONE_NEWNS))
    _called(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    staged = []
    with ExitStack() as opened:
        held = []
        for bind in binds:
            if bind.own or bind.source.exists():
                held.append((bind, bind.source.is_dir(), _opened(bind, mapping)))
                opened.callback(os.close, held[-1][2])
        _called(_libc.mount(b"tmpfs", bytes(_STAGE), b"tmpfs", 0, b"mode=755,size=1m"))
        for number, (bind, is_folder, descriptor) in enumerate(held):
            place = _STAGE / str(number)
            if is_folder:
                place.mkdir(mode=0o755)
            else:
                place.touch()
            _system(_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, bytes(place), _FROM_DESCRIPTOR)
            staged.append(replace(bind, source=place))
    return staged


def _opened(bind: Bind, mapping: int) -> int:
    """Return a descriptor of a new mount of the source, that is nowhere yet."""
    flags = _CLONED | os.O_CLOEXEC | (0 if bind.own else _AT_RECURSIVE)
    descriptor = _system(_OPEN_TREE, _AT_FDCWD, bytes(bind.source), flags)
    if not bind.own and not bind.door:
        return descriptor
    wanted = struct.pack("=QQQQ", _IDMAP, 0, 0, mapping)
    try:
        _system(_MOUNT_SETATTR, descriptor, b"", _AT_EMPTY_PATH, wanted, len(wanted))
    except OSError as error:
        if bind.own:
            os.close(descriptor)
            raise NeedsPerson(
                f"{bind.source} lies in a file system that cannot lend it to a user of the "
                f"sandbox ({error.strerror}): run the server as another user than root."
            ) from error
        # A door may lie in memory, which translates since Linux 6.3: then its mode decides.
    return descriptor


def _mapped(user: int) -> int:
    """Return a descriptor of a user namespace that maps root to *user*; no process stays in it."""
    with subprocess.Popen(  # noqa: S603  # a fixed program, no shell of others
        [_UNSHARE, "--user", "sh", "-c", "echo; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={},
    ) as inside:
        assert inside.stdout is not None
        inside.stdout.readline()  # now it is in its namespace
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{inside.pid}/{name}").write_text(f"0 {user} 1\n")
        return os.open(f"/proc/{inside.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _system(number: int, *words: int | bytes) -> int:
    arguments = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    return _called(_libc.syscall(ctypes.c_long(number), *arguments))


def _called(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
