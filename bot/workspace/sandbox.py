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

import psutil

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.ports import NO_KIT, Finished, Kit, Sandbox, Watch
from bot.workspace import bridge, process
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
_MB = 1024 * 1024
_FILE_MB = 1024  # largest file
_TMP_MB = 1024  # size of /tmp and of the home folder, each
_TREE_MB = 8192  # how much of the disk a command may use up
_FREE_MB = 256  # how much must stay free
_OPEN_FILES = 4096
CIRCLES = 20  # how often a command may print that it goes round in circles
_NOBODY = "65534"
_PROBE = """
grep -q . /proc/1/environ && echo "the caller's environment is visible"
[ "$(id -u)" = 0 ] && echo "commands run as root"
grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status || echo "capabilities are left"
grep -qvE 'Inter|face|^ *lo:' /proc/net/dev && echo "a network device is visible"
(: > /usr/canary) 2>/dev/null && echo "the system is writable"
(: > /tree/canary) 2>/dev/null || echo "the tree is not writable"
[ -e "$0" ] && echo "the host's files are visible"
true
"""


class Bubblewrap:
    """Runs commands by bubblewrap; `path` is the PATH whose tools they may use."""

    def __init__(self, config: SandboxConfig, path: str) -> None:
        self._config = config
        self._host_path = path
        self._tools = tool_path(path)
        self._python = tool_path(str(_PYTHON.parent))

    @property
    def name(self) -> str:
        """The driver's name in the configuration."""
        return "bubblewrap"

    def available(self) -> str | None:
        """Return why bubblewrap cannot be used here, or None when it can."""
        if self._bwrap is None:
            return "bubblewrap is not installed"
        if self._prlimit is None:
            return "prlimit (util-linux) is not installed"
        with tempfile.TemporaryDirectory(prefix="regreen-") as tree:
            ended = self.run(("true",), Path(tree), timeout_s=20)
        if ended.exit_code != 0:
            return f"bubblewrap does not start: {ended.output.strip() or ended.exit_code}"
        return None

    def selftest(self) -> tuple[str, ...]:
        """Try the known holes from inside; return those that are open, none when all hold."""
        with tempfile.TemporaryDirectory(prefix="regreen-") as folder:
            tree, secret = Path(folder) / "tree", Path(folder) / "secret"
            tree.mkdir()
            secret.write_text("CANARY")
            command = ("sh", "-c", _PROBE, str(secret))
            ended = self.run(command, tree, timeout_s=20, env={})
        if ended.exit_code != 0:
            return (f"the self-test did not run: {ended.output.strip()}",)
        return tuple(ended.output.splitlines())

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
        return process.run(
            [*self._world(tree, env or {}, kit), *self._limited(), *_bridged(kit), *command],
            cwd=Path("/"),
            env={},
            timeout_s=timeout_s,
            stdin=stdin,
            stop=stop,
            fault=_Limits(self._config, tree, kit).fault,
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
        for file in sorted(_ETC.iterdir()):
            arguments += ["--ro-bind", str(file), f"/etc/{file.name}"]
        return tuple(arguments)

    @cached_property
    def _shown(self) -> tuple[str, ...]:
        arguments: list[str] = []
        extra = [Path(path) for path in self._config.paths]
        for path in (*self._tools.shown, *extra):
            if path.is_relative_to(TREE) or not path.is_absolute():
                raise NeedsPerson(f"sandbox.paths: {path} cannot be shown in the sandbox")
            arguments += ["--ro-bind-try", str(path), str(path)]
        return tuple(arguments)

    def _gateway(self, kit: Kit) -> list[str]:
        """Return the arguments that show the gateway's socket and what leads to it."""
        if kit.socket is None:
            return []
        shown = [part for path in self._python.shown for part in ("--ro-bind-try", path, path)]
        return [
            *map(str, shown),
            *("--ro-bind", bridge.__file__, f"{_OURS}/bridge.py"),
            *("--ro-bind", str(kit.socket), f"{_OURS}/gateway"),
        ]

    def _world(self, tree: Path, env: Mapping[str, str], kit: Kit) -> list[str]:
        spaces = ("user", "pid", "net", "ipc", "uts")
        small = ("--size", str(_TMP_MB * _MB), "--tmpfs")
        inside = {
            "PATH": self._tools.path,
            "HOME": HOME,
            "TMPDIR": "/tmp",  # noqa: S108  # the sandbox's own, in memory
            "LANG": "C.UTF-8",
            **env,
        }
        home = (*small, HOME) if kit.home is None else ("--bind", str(kit.home), HOME)
        variables = [part for pair in inside.items() for part in ("--setenv", *pair)]
        return [
            self._bwrap or "bwrap",
            *(f"--unshare-{space}" for space in spaces),
            "--unshare-cgroup-try",
            *self._nested,
            *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
            *("--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"),
            *self._host,
            *("--proc", "/proc", "--dev", "/dev", *small, "/tmp", *home),  # noqa: S108
            *self._shown,
            *self._gateway(kit),
            *(() if kit.shown is None else ("--ro-bind", str(kit.shown), SHOWN)),
            *("--bind", str(tree), TREE, "--remount-ro", "/", "--chdir", TREE),
            *variables,
            "--",
        ]

    def _limited(self) -> list[str]:
        memory = self._config.memory_mb * _MB
        return [
            self._prlimit or "prlimit",
            f"--nproc={self._config.processes}",
            f"--data={memory}",  # not --as: runtimes reserve address space that they never use
            f"--fsize={_FILE_MB * _MB}",
            f"--nofile={_OPEN_FILES}",
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

    def available(self) -> str | None:
        """Return None: nothing is needed."""
        return None

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
                return process.run(
                    command,
                    cwd=tree,
                    env=own | dict(env or {}),
                    timeout_s=timeout_s,
                    stdin=stdin,
                    stop=stop,
                    fault=_Limits(self._config, tree, kit).fault,
                )
            finally:
                process.kill_marked("REGREEN_COMMAND", mark)


def choose(config: SandboxConfig, path: str | None = None) -> Sandbox:
    """Return the configured sandbox; raise NeedsPerson, with the mend, when it cannot be used.

    `path` is the PATH whose tools commands may use, this process's own when it is left out.
    """
    path = host_path() if path is None else path
    if config.driver == "none":
        return NoSandbox(config, path)
    if config.driver != "bubblewrap":
        raise NeedsPerson(f'sandbox.driver is "{config.driver}"; use "bubblewrap" or "none"')
    sandbox = Bubblewrap(config, path)
    reason = sandbox.available()
    if reason is not None:
        raise NeedsPerson(
            f"{reason}. Install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install "
            'bubblewrap) and allow user namespaces, or set driver = "none" in [sandbox] of '
            "llm_config.toml to run untrusted code without isolation."
        )
    holes = sandbox.selftest()
    if holes:
        raise NeedsPerson(f"The sandbox does not hold: {'; '.join(holes)}.")
    return sandbox


class _Limits:
    """What all processes of one command may use together, and how they must behave."""

    def __init__(self, config: SandboxConfig, tree: Path, kit: Kit) -> None:
        self._config = config
        self._watch = kit.watch
        places = [tree] if kit.home is None else [tree, kit.home]
        self._free = {place: shutil.disk_usage(place).free for place in places}

    def fault(self, top: psutil.Process, output: process.Output) -> process.Fault | None:
        """Return which limit is broken now, if one is."""
        reason = self._greed(top)
        return _manners(output, self._watch) if reason is None else process.Fault(reason)

    def _greed(self, top: psutil.Process) -> str | None:
        family = [top, *top.children(recursive=True)]
        if len(family) > self._config.processes:
            return f"more than {self._config.processes} processes"
        if sum(map(_own_memory, family)) > self._config.memory_mb * _MB:
            return f"more than {self._config.memory_mb} MB of memory"
        for place, before in self._free.items():
            free = shutil.disk_usage(place).free
            if free < _FREE_MB * _MB or before - free > _TREE_MB * _MB:
                return "too much disk space used"
        return None


def _manners(output: process.Output, watch: Watch) -> process.Fault | None:
    """Return why a command is given up for what it prints."""
    if watch.quiet_s is not None and output.silent_s > watch.quiet_s:
        return process.Fault(f"no output for {watch.quiet_s:g} s", timed_out=True)
    if watch.most_bytes is not None and output.size > watch.most_bytes:
        return process.Fault(f"more than {watch.most_bytes} bytes of output", endless=True)
    if watch.circle and output.count(watch.circle.encode()) >= CIRCLES:
        return process.Fault("it went round in circles", endless=True)
    return None


def _bridged(kit: Kit) -> list[str]:
    """Return the command that leads to the gateway and then becomes the one that follows."""
    if kit.socket is None:
        return []
    script, socket = f"{_OURS}/bridge.py", f"{_OURS}/gateway"
    return [str(_PYTHON), "-I", "-S", script, socket, str(_PORT)]


def _own_memory(member: psutil.Process) -> int:
    """Return the bytes that only this process holds, 0 when it has just ended."""
    try:
        memory = member.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))
