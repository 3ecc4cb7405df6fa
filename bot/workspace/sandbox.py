"""Runs code that we do not trust, over one tree, without network, within limits.

bubblewrap builds a world of its own for each command: every namespace is new, no capability is
left, nothing of the host is there but `/usr`, the tools on the PATH and the tree. Two holes of
bubblewrap decide how it is called. Its first process keeps the caller's environment for all to
read, so it is started with none. Before 0.12 a link in a writable bind could lead a mount
point onto the host, so nothing is ever mounted below the tree. Limits are set inside, where the
kernel counts the processes of this sandbox alone; totals are watched from outside, because the
kernel counts none for root.

An agent needs two more things. Its home may be a folder of the host, in place of one in memory: a
bind beside the tree, never below it. And it must reach the gateway: a Unix socket is shown to it,
and `bridge.py` makes a port of it. The bridge runs by the Python that runs us: that one is always
there, in the version that we know, whereas an image need not hold socat or a Python of its own.
"""

import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from socket import SHUT_RDWR, create_server
from threading import Thread
from typing import Protocol

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.ports import NO_KIT, Finished, Kit, Sandbox
from bot.workspace import bridge, holes, lesser, limits, process, syscalls
from bot.workspace.container import Container
from bot.workspace.lesser import Bind
from bot.workspace.limits import Limits
from bot.workspace.toolpath import host_path, tool_path

HOME = "/home/regreen"
TREE = "/tree"
_ETC = Path(__file__).parent / "etc"
_OURS = "/run/regreen"  # inside: the bridge and its socket, and the folder that a kit shows
SHOWN = f"{_OURS}/shown"
_PORT = 8101  # inside, on a loopback that is the sandbox's own
_PYTHON = Path(sys.executable).resolve()
_HOST_ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl", "/etc/pki", "/etc/localtime")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NOBODY = "65534"
_MEND = (
    "Install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap) and allow "
    'user namespaces, or set driver = "none" in [sandbox] of llm_config.toml to run untrusted code '
    "without isolation."
)


class Driver(Sandbox, Protocol):
    """A sandbox that can say whether it is there, and whether it holds."""

    def missing(self) -> str | None: ...
    def selftest(self) -> tuple[str, ...]: ...
    def notes(self) -> tuple[str, ...]: ...


class Bubblewrap:
    """Runs commands by bubblewrap; `path` is the PATH whose tools they may use.

    `where` is the folder whose file system the trees lie in, that for temporary files if not given.
    """

    environment: Mapping[str, str] = {}  # of bubblewrap itself, which everybody inside may read

    def __init__(self, config: SandboxConfig, path: str, where: Path | None = None) -> None:
        self._config = config
        self._where = where
        self._host_path = path
        self._tools = tool_path(path)
        self._python = tool_path(str(_PYTHON.parent))

    @property
    def name(self) -> str:
        """The driver's name in the configuration."""
        return "bubblewrap"

    def missing(self) -> str | None:
        """Return which program is not there, or None."""
        if self._bwrap is None:
            return "bubblewrap is not installed"
        if self._prlimit is None:
            return "prlimit (util-linux) is not installed"
        return None

    def available(self) -> str | None:
        """Return why bubblewrap cannot be used here, or None when it can."""
        if (reason := self.missing()) is not None:
            return reason
        ended = self._trial(lent=self._lends)
        if ended.exit_code != 0:
            return f"bubblewrap does not start: {ended.output.strip() or ended.exit_code}"
        return None

    def selftest(self) -> tuple[str, ...]:
        """Try the known holes from inside; return those that are open, none when all hold."""
        return tuple(hole for hole in self._found if not hole.startswith("note: "))

    def notes(self) -> tuple[str, ...]:
        """Return what holds less well here than it could."""
        told = [hole.removeprefix("note: ") for hole in self._found if hole.startswith("note: ")]
        if os.geteuid() == 0 and not self._lends:
            told.append(
                "commands run with the files of root, and their processes are watched rather than "
                "counted: let the server run as another user"
            )
        return tuple(told)

    @contextmanager
    def reach(self, socket: Path) -> Iterator[str]:  # noqa: ARG002  # each sandbox has its own port
        """Yield the URL at which a command finds the socket of its kit."""
        yield f"http://127.0.0.1:{_PORT}"

    def run(
        self,
        command: Sequence[str],
        tree: Path,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        stop: Callable[[], bool] = process.never,
        kit: Kit = NO_KIT,
    ) -> Finished:
        """Run *command* in *tree*, which it sees as `/tree` and may change."""
        inside = [*self._limited(timeout_s), *_bridged(kit), *command]
        with Limits(self._config, tree, kit) as watched:

            def perform(binds: Sequence[Bind], user: int | None) -> Finished:
                with self._filtered(self._world(binds, env or {}, kit)) as (world, inherit):
                    return process.run(
                        [*lesser.become(user), *world, *inside],
                        cwd=Path("/"),
                        env=self.environment,
                        timeout_s=timeout_s,
                        stdin=stdin,
                        stop=stop,
                        fault=watched.fault,
                        inherit=inherit,
                    )

            binds = self._binds(tree, kit)
            return lesser.lent(binds, perform) if self._lends else perform(binds, None)

    @cached_property
    def _lends(self) -> bool:
        """Tell whether commands run as users of their own: only root can arrange that."""
        if os.geteuid() != 0:
            return False
        try:
            return self._trial(lent=True).exit_code == 0
        except (OSError, NeedsPerson):
            return False

    def _trial(self, *, lent: bool) -> Finished:
        """Run the least command, on the file system where the trees will lie."""
        with tempfile.TemporaryDirectory(prefix="regreen-", dir=self._where) as tree:
            binds = self._binds(Path(tree), NO_KIT)

            def perform(binds: Sequence[Bind], user: int | None) -> Finished:
                with self._filtered(self._world(binds, {}, NO_KIT)) as (world, inherit):
                    words = [*lesser.become(user), *world, "touch", "tried"]
                    return process.run(words, cwd=Path("/"), env={}, timeout_s=20, inherit=inherit)

            return lesser.lent(binds, perform) if lent else perform(binds, None)

    @cached_property
    def _found(self) -> tuple[str, ...]:
        return holes.found(
            lambda command, tree: self.run(command, tree, timeout_s=20),
            self._where,
            ("processes", "data_size", "file_size", "open_files", "cpu_time"),
        )

    @cached_property
    def _bwrap(self) -> str | None:
        return shutil.which("bwrap", path=self._host_path)

    @cached_property
    def _prlimit(self) -> str | None:
        return shutil.which("prlimit", path="/usr/bin:/bin")

    @cached_property
    def _nested(self) -> tuple[str, ...]:
        """Return the flag that forbids further namespaces, which old versions do not have."""
        bwrap = self._bwrap or "bwrap"
        shown = process.call([bwrap, "--help"], env={}, timeout_s=20)
        known = "--disable-userns" in shown.stdout.decode() + shown.stderr
        return ("--disable-userns",) if known else ()

    @cached_property
    def _host(self) -> tuple[str, ...]:
        """Return the arguments that show the host's folders, all read-only."""
        arguments = ["--ro-bind", "/usr", "/usr"]
        for name in _MERGED:
            folder = Path("/", name)
            if folder.is_symlink():
                arguments += ["--symlink", str(folder.readlink()), str(folder)]
            elif folder.is_dir():
                arguments += ["--ro-bind", str(folder), str(folder)]
        for path in _HOST_ETC:
            arguments += ["--ro-bind-try", path, path]
        return tuple(arguments)

    @cached_property
    def _shown(self) -> tuple[Bind, ...]:
        """Return what is shown of the host to every command."""
        extra = [Path(path) for path in self._config.paths]
        for path in extra:
            if not path.is_absolute() or any(path.is_relative_to(own) for own in (TREE, HOME)):
                raise NeedsPerson(f"sandbox.paths: {path} cannot be shown in the sandbox")
        files = [Bind(file, f"/etc/{file.name}") for file in sorted(_ETC.iterdir())]
        return (*files, *(Bind(path, str(path)) for path in (*self._tools.shown, *extra)))

    def _binds(self, tree: Path, kit: Kit) -> list[Bind]:
        """Return all that this command is shown, what it may change last."""
        binds = [*self._shown]
        if kit.socket is not None:
            binds += [Bind(path, str(path)) for path in self._python.shown]
            binds.append(Bind(Path(bridge.__file__), f"{_OURS}/bridge.py"))
            binds.append(Bind(kit.socket, f"{_OURS}/gateway", door=True))
        if kit.shown is not None:
            binds.append(Bind(kit.shown, SHOWN, door=True))
        if kit.home is not None:
            binds.append(Bind(kit.home, HOME, own=True))
        return [*binds, Bind(tree, TREE, own=True)]

    def _world(self, binds: Sequence[Bind], env: Mapping[str, str], kit: Kit) -> list[str]:
        spaces = ("user", "pid", "net", "ipc", "uts")
        inside = {
            "PATH": self._tools.path,
            "HOME": HOME,
            "TMPDIR": "/tmp",  # noqa: S108  # the sandbox's own, in memory
            "LANG": "C.UTF-8",
            **env,
        }
        home = () if kit.home is not None else (*_memory(limits.TMP_MB), HOME)
        variables = [part for pair in inside.items() for part in ("--setenv", *pair)]
        return [
            self._bwrap or "bwrap",
            *(f"--unshare-{space}" for space in spaces),
            "--unshare-cgroup-try",
            *self._nested,
            *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
            *("--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"),
            *self._host,
            *("--proc", "/proc", "--dev", "/dev", *_memory(limits.SHM_MB), "/dev/shm"),  # noqa: S108
            *(*_memory(limits.TMP_MB), "/tmp", *home),  # noqa: S108
            *(word for bind in binds for word in bind.words()),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", TREE),
            *variables,
            "--",
        ]

    @contextmanager
    def _filtered(self, world: list[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yield the words with the filter of system calls, and the descriptors that they name."""
        with syscalls.opened() as descriptor:
            if descriptor is None:
                yield world, ()
            else:
                yield [world[0], "--seccomp", str(descriptor), *world[1:]], (descriptor,)

    def _limited(self, timeout_s: float) -> list[str]:
        memory = self._config.memory_mb * limits.MB  # for all; no process may have so much
        return [
            self._prlimit or "prlimit",
            f"--nproc={self._config.processes}",
            f"--data={memory * 7 // 8}",  # not --as: runtimes reserve what they never use
            f"--fsize={limits.FILE_MB * limits.MB}",
            f"--nofile={limits.OPEN_FILES}",
            f"--cpu={math.ceil(timeout_s * (os.cpu_count() or 1)) + 1}",
            "--core=0",
            "--",
        ]


class NoSandbox:
    """Runs commands on the host itself, for those who chose driver "none" by name."""

    def __init__(self, config: SandboxConfig, path: str) -> None:
        self._config = config
        self._path = path

    @property
    def name(self) -> str:
        """The driver's name in the configuration."""
        return "none"

    def missing(self) -> str | None:
        """Return None: nothing is needed."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Return nothing: the self-test says it all."""
        return ()

    def selftest(self) -> tuple[str, ...]:
        """Return the one hole that it is."""
        return ("commands run on this machine without isolation",)

    @contextmanager
    def reach(self, socket: Path) -> Iterator[str]:
        """Lead a port of this machine to the socket while the block lasts, and yield its URL."""
        with create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            serving = Thread(target=bridge.serve, args=(listener, str(socket)), daemon=True)
            serving.start()
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                listener.shutdown(SHUT_RDWR)  # a close alone would not wake who waits for a caller
                serving.join()

    def run(
        self,
        command: Sequence[str],
        tree: Path,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        stop: Callable[[], bool] = process.never,
        kit: Kit = NO_KIT,
    ) -> Finished:
        """Run *command* in *tree* with a clean environment and an empty home folder."""
        mark = secrets.token_hex(8)
        with tempfile.TemporaryDirectory(prefix="regreen-home-") as empty:
            home = str(kit.home or empty)
            own = {"PATH": self._path, "HOME": home, "LANG": "C.UTF-8", "REGREEN_COMMAND": mark}
            try:
                with Limits(self._config, tree, kit) as watched:
                    return process.run(
                        command,
                        cwd=tree,
                        env=own | dict(env or {}),
                        timeout_s=timeout_s,
                        stdin=stdin,
                        stop=stop,
                        fault=watched.fault,
                    )
            finally:
                process.kill_marked("REGREEN_COMMAND", mark)


def choose(config: SandboxConfig, path: str | None = None, where: Path | None = None) -> Driver:
    """Return the configured sandbox; raise NeedsPerson, with the mend, when it does not hold.

    `path` is the PATH whose tools commands may use, this process's own when it is left out. `where`
    is the data folder, whose file system the trees lie in.
    """
    path = host_path() if path is None else path
    sandbox: Bubblewrap | Container
    if config.driver == "none":
        return NoSandbox(config, path)
    if config.driver == "bubblewrap":
        sandbox, mend = Bubblewrap(config, path, where), _MEND
    elif config.driver in {"podman", "docker"}:
        sandbox, mend = Container(config, path, where), "See docs/sandbox.md, or use bubblewrap."
    else:
        raise NeedsPerson(f'sandbox.driver is "{config.driver}", which does not exist')
    reason = sandbox.available()
    if reason is not None:
        raise NeedsPerson(f"{reason}. {mend}")
    holes = sandbox.selftest()
    if holes:
        raise NeedsPerson(f"The sandbox does not hold: {'; '.join(holes)}.")
    return sandbox


def _memory(size_mb: int) -> tuple[str, ...]:
    """Return the arguments for a folder in memory, up to its path."""
    return ("--size", str(size_mb * limits.MB), "--tmpfs")


def _bridged(kit: Kit) -> list[str]:
    """Return the command that leads to the gateway and then becomes the one that follows."""
    if kit.socket is None:
        return []
    script, socket = f"{_OURS}/bridge.py", f"{_OURS}/gateway"
    return [str(_PYTHON), "-I", "-S", script, socket, str(_PORT)]
