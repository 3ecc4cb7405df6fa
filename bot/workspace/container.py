"""Runs code that we do not trust in containers of podman or docker, where an engine is there.

The image brings the tools; it is never pulled. The flags are those of both engines: no network, a
read-only root, no capability, limits that the engine keeps by cgroups, folders in memory of a fixed
size, and a user who is not root. The tree belongs to whoever runs the server. For a server of root
podman gets a user that is lent, as bubblewrap does; docker cannot, since its daemon does not see
the mounts of our threads.

A container is no child of ours: it is removed by name after each command, and those of a server
that died are removed when the next one starts.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from secrets import token_hex

import psutil
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from bot.config.load import environment
from bot.config.schema import SandboxConfig
from bot.domain.ports import NO_KIT, Finished, Kit
from bot.workspace import bridge, holes, lesser, limits, process
from bot.workspace.lesser import Bind
from bot.workspace.limits import Limits

HOME = "/home/regreen"
TREE = "/tree"
_OURS = "/run/regreen"
_PORT = 8101  # inside, on a loopback that is the container's own
_LABEL = "regreen.server"
# What an engine must know of our environment to find its images and its daemon; none of it is
# handed on to containers.
_KNOWN = ("HOME", "PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "CONTAINERS_CONF")
_KNOWN_TO_DOCKER = ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH")


class Container:
    """Runs each command in a container of its own; `config.driver` names the engine."""

    program: Sequence[str] = ()  # how the engine is called, by its name if empty

    def __init__(self, config: SandboxConfig, path: str, where: Path | None = None) -> None:
        self._config = config
        self._where = where
        self._engine = shutil.which(config.driver, path=path)
        known = (*_KNOWN, *_KNOWN_TO_DOCKER)
        self._environment = {k: v for k, v in environment().items() if k in known}

    @property
    def name(self) -> str:
        """The driver's name in the configuration."""
        return self._config.driver

    def missing(self) -> str | None:
        """Return what is not there, or None."""
        if self._engine is None:
            return f"{self.name} is not installed"
        if not self._config.image:
            return "sandbox.image is not set: containers need one, with the tools of the commands"
        if self.name == "docker" and os.geteuid() == 0:
            return "docker needs a server that is not root: its trees must belong to a plain user"
        return None

    def available(self) -> str | None:
        """Return why the engine cannot be used here, or None when it can."""
        if (reason := self.missing()) is not None:
            return reason
        try:
            self._sweep()
        except TimeoutError as error:
            return str(error)
        if self._found and self._found[0].startswith("the self-test did not run"):
            return f"{self.name}: {self._found[0]}"
        return None

    def selftest(self) -> tuple[str, ...]:
        """Try the known holes from inside; return those that are open, none when all hold."""
        return tuple(hole for hole in self._found if not hole.startswith("note: "))

    def notes(self) -> tuple[str, ...]:
        """Return what holds less well here than it could."""
        return tuple(
            hole.removeprefix("note: ") for hole in self._found if hole.startswith("note: ")
        )

    @contextmanager
    def reach(self, socket: Path) -> Iterator[str]:  # noqa: ARG002  # each container has its own port
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
        name = f"regreen-{token_hex(8)}"
        with Limits(self._config, tree, kit) as watched:

            def perform(binds: Sequence[Bind], user: int) -> Finished:
                words = self.words(name, binds, user, env or {}, kit)
                ended = None
                try:
                    ended = process.run(
                        [*words, *_bridged(kit), *command],
                        cwd=Path("/"),
                        env=self._environment,
                        timeout_s=timeout_s,
                        stdin=stdin,
                        stop=stop,
                        fault=watched.fault,
                    )
                finally:
                    if ended is None or ended.fault:  # else the engine has removed it
                        self._remove(name)
                return ended

            binds = self._binds(tree, kit)
            if os.geteuid() == 0:
                return lesser.lent(binds, perform)
            return perform(binds, os.getuid())

    def words(
        self, name: str, binds: Sequence[Bind], user: int, env: Mapping[str, str], kit: Kit
    ) -> list[str]:
        """Return the engine's command line, up to the command that is run in the container."""
        config = self._config
        inside = {"HOME": HOME, "TMPDIR": "/tmp", "LANG": "C.UTF-8", **env}  # noqa: S108
        memory = ["/tmp", *([] if kit.home is not None else [HOME])]  # noqa: S108
        size = f"size={limits.TMP_MB}m"
        return [
            *self._called,
            *("run", "--rm", "--interactive", "--pull", "never", "--name", name),
            *("--label", f"{_LABEL}={_server()}", "--log-driver", "none"),
            *("--network", "none", "--hostname", "sandbox", "--ipc", "private"),
            *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--security-opt", "label=disable"),  # SELinux would ask for every file's label anew
            *self._own_flags(),
            *("--user", f"{user}:{user if os.geteuid() == 0 else os.getgid()}"),
            *("--pids-limit", str(config.processes)),
            *("--memory", f"{config.memory_mb}m", "--memory-swap", f"{config.memory_mb}m"),
            *("--ulimit", f"fsize={limits.FILE_MB * limits.MB}", "--ulimit", "core=0"),
            *("--ulimit", f"nofile={limits.OPEN_FILES}"),
            # Only a lent user's processes are those of this container alone.
            *(("--ulimit", f"nproc={config.processes}") if os.geteuid() == 0 else ()),
            *("--shm-size", f"{limits.SHM_MB}m"),
            *(word for at in memory for word in ("--tmpfs", f"{at}:rw,exec,{size},mode=1777")),
            *(word for bind in binds for word in _mount(bind)),
            *("--workdir", TREE),
            *(word for pair in inside.items() for word in ("--env", "=".join(pair))),
            *("--entrypoint", "", config.image),
        ]

    @property
    def _at_once(self) -> tuple[str, ...]:
        """Return what keeps podman from waiting 10 s; docker never waits."""
        return ("--time", "0") if self.name == "podman" else ()

    def _own_flags(self) -> tuple[str, ...]:
        """Return what only podman knows."""
        if self.name != "podman":
            return ()
        rootless = () if os.geteuid() == 0 else ("--userns", "keep-id")
        return ("--read-only-tmpfs=false", "--no-healthcheck", *rootless)

    @property
    def _called(self) -> tuple[str, ...]:
        return tuple(self.program) or (self._engine or self.name,)

    @cached_property
    def _found(self) -> tuple[str, ...]:
        return holes.found(
            lambda command, tree: self.run(command, tree, timeout_s=60),
            self._where,
            ("file_size", "open_files"),
        )

    def _binds(self, tree: Path, kit: Kit) -> list[Bind]:
        binds = [Bind(Path(path), path) for path in self._config.paths if Path(path).exists()]
        if kit.socket is not None:
            binds.append(Bind(Path(bridge.__file__), f"{_OURS}/bridge.py"))
            binds.append(Bind(kit.socket, f"{_OURS}/gateway", door=True))
        if kit.shown is not None:
            binds.append(Bind(kit.shown, f"{_OURS}/shown", door=True))
        if kit.home is not None:
            binds.append(Bind(kit.home, HOME, own=True))
        return [*binds, Bind(tree, TREE, own=True)]

    def _sweep(self) -> None:
        """Remove the containers of servers on this machine that are no more."""
        shown = ("ps", "--all", "--filter", f"label={_LABEL}", "--format")
        listed = self._call(*shown, '{{.Names}} {{index .Labels "' + _LABEL + '"}}')
        for line in listed.splitlines():
            name, _, server = line.partition(" ")
            pid, _, began = server.partition("-")
            if pid.isdigit() and _began(int(pid)) != began:
                self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove a container; an engine may refuse while it still makes it or cleans it up."""
        again = Retrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(0.2),
            stop=stop_after_delay(30),
            retry_error_callback=lambda _: False,  # the next server's start will try again
        )
        again(self._left, name)

    def _left(self, name: str) -> bool:
        """Try to remove a container; return whether it is still there."""
        self._call("rm", "--force", *self._at_once, name)
        named = ("ps", "--all", "--filter", f"name={name}", "--format", "{{.Names}}")
        return name in self._call(*named).split()

    def _call(self, *words: str) -> str:
        called = process.call([*self._called, *words], env=self._environment, timeout_s=60)
        return called.stdout.decode(errors="replace")


def _mount(bind: Bind) -> tuple[str, str]:
    end = "" if bind.own else ",readonly"
    return ("--mount", f"type=bind,source={bind.source},target={bind.at}{end}")


def _bridged(kit: Kit) -> list[str]:
    """Return the command that leads to the gateway; the image must have Python for it."""
    if kit.socket is None:
        return []
    return ["python3", "-I", "-S", f"{_OURS}/bridge.py", f"{_OURS}/gateway", str(_PORT)]


def _server() -> str:
    """Return what names this process among all that this machine ever ran."""
    return f"{os.getpid()}-{_began(os.getpid())}"


def _began(pid: int) -> str:
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.Error:
        return ""
