"""Runs the set-up of a verification: with what it may fetch, and only once for each lock file.

The set-up is the only command that may fetch something, from the hosts of `sandbox.fetch`. What it
makes lies in the tree (`.venv`, `node_modules`) and in its home folder, which the commands after it
share. Where it depends on lock files alone (`inputs.py`) it runs once over these, is stored
(`snapshots.py`), and is copied into the trees of later runs on the same repository. Only a run on
what people wrote who may write to the repository stores anything; any other may use it.

The copying is done in the sandbox, over a read-only view, so a link that waits in the tree leads
nowhere but into the sandbox.
"""

import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from bot.config.schema import SandboxConfig
from bot.domain.ports import NO_KIT, Finished, Kit, Sandbox
from bot.domain.values import Command, CommandResult, Fetched, Ground
from bot.workspace.artifacts import evidence
from bot.workspace.cleanup import Cleaner
from bot.workspace.disk import writing
from bot.workspace.fetch import FetchProxy, variables
from bot.workspace.inputs import Seen, seen
from bot.workspace.pool import Holder, hold
from bot.workspace.sandbox import SHOWN, TREE
from bot.workspace.snapshots import Snapshots
from bot.workspace.toolpath import host_path, tool_path

NAME = "setup"  # of the command that sets up
NOWHERE = Ground()
_NO_MATTER = frozenset({"memory_mb", "processes", "workers", "fetch_mb", "snapshots_mb"})
_COPY_S = 600.0
_KEY = 12  # digits of a key that people are shown
_COPY = f"cp -a --reflink=auto {SHOWN}/tree/. {TREE}/ && cp -a --reflink=auto {SHOWN}/home/. ~/"
_DOWNLOADS = ".cache/pip .cache/uv .cache/yarn .npm/_cacache .cache/go-build"
_TIDY = f"cd ~ && rm -rf {_DOWNLOADS}; cd {TREE} && xargs -0 rm -f --"

log = structlog.get_logger("regreen")

Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Ready:
    """How the set-up went, and what the commands after it need to find what it made."""

    results: tuple[CommandResult, ...] = ()
    kit: Kit = NO_KIT

    @property
    def failed(self) -> bool:
        """Whether nothing shall run after it."""
        return any(not one.passed and not one.allow_fail for one in self.results)


@dataclass(frozen=True, slots=True)
class _Made:
    """How the making of a stored set-up went; `cut`: it was stopped, or took too long."""

    results: Sequence[CommandResult]
    kept: bool = False
    cut: bool = False


class Setup:
    """Sets up trees in *sandbox*; what is stored lies below *root*, the data folder."""

    def __init__(
        self,
        sandbox: Sandbox,
        root: Path,
        *,
        config: SandboxConfig | None = None,
        cleaner: Cleaner | None = None,
        proxy: FetchProxy | None = None,
        path: str | None = None,
    ) -> None:
        """Raise NeedsPerson when `sandbox.fetch` makes no sense.

        `path` is the PATH whose tools the sandbox shows, this process's own when it is left out.
        """
        config = config or SandboxConfig()
        self._sandbox = sandbox
        self._holders = root.absolute() / "trees"
        self._cleaner = cleaner or Cleaner(root)
        self._proxy = proxy or (FetchProxy(config.fetch, config.fetch_mb) if config.fetch else None)
        # Without a sandbox the paths of a tree differ each time, and what is made names them.
        self._store = (
            Snapshots(root, self._cleaner, config.snapshots_mb)
            if config.snapshots_mb and sandbox.name != "none"
            else None
        )
        self._path = path
        self._config = config

    def round(self, now: datetime) -> None:
        """Remove stored set-ups that nobody has used for long."""
        if self._store is not None:
            self._store.round(now)

    @contextmanager
    def ready(
        self, tree: Path, commands: Sequence[Command], stop: Stop, ground: Ground = NOWHERE
    ) -> Iterator[Ready]:
        """Set *tree* up and yield how that went; the home folder lasts as long as the block."""
        if not commands:
            yield Ready()
            return
        with self._holder() as holder:
            home = holder.path / "home"
            home.mkdir(mode=0o700)
            results = self._stored(tree, home, commands, stop, ground)
            if results is None:
                results = self._each(commands, tree, home, stop)
            yield Ready(tuple(results), Kit(home=home))

    # --- stored ---

    def _stored(
        self, tree: Path, home: Path, commands: Sequence[Command], stop: Stop, ground: Ground
    ) -> Sequence[CommandResult] | None:
        """Return how it went with what is stored, or could be; None: it is to run in the tree."""
        if self._store is None or not ground.repo:
            return None
        found = seen(tree, [one.run for one in commands], self._surroundings())
        if found is None:
            return None
        results = self._copied(found, tree, home, commands, ground)
        if results is not None or not ground.trusted:
            return results
        within_s = sum(one.timeout_s for one in commands)
        with self._store.making(ground.repo, found.key, within_s=within_s, stop=stop) as ours:
            made = self._made(found, commands, stop, ground) if ours else None
        if made is None or made.kept:
            results = self._copied(found, tree, home, commands, ground)
            return results if made is None or results is None else made.results
        if made.cut:
            return made.results
        results = self._each(commands, tree, home, stop)
        if all(one.passed for one in results):  # so it is not the network, or the command itself
            self._store.mark_whole(ground.repo, found.key)
        return results

    def _copied(
        self, found: Seen, tree: Path, home: Path, commands: Sequence[Command], ground: Ground
    ) -> Sequence[CommandResult] | None:
        """Copy what is stored into the tree and the home; None when there is nothing of use."""
        assert self._store is not None
        with self._store.using(ground.repo, found.key) as snapshot:
            if snapshot is None:
                return None
            kit = Kit(home=home, shown=snapshot)
            ended = self._sandbox.run(("sh", "-c", _COPY), tree, timeout_s=_COPY_S, kit=kit)
        if ended.exit_code != 0:
            log.warning("setup_not_copied", repo=ground.repo, reason=ended.output[-400:])
            if ground.trusted:  # else the tree may have been made to spoil it
                self._store.drop(ground.repo, found.key)
            return None
        first, *rest = (
            msgspec.structs.replace(evidence(one, ended), output="", snapshot=found.key)
            for one in commands
        )
        told = f"taken from the stored set-up {found.key[:_KEY]}\n"
        first = msgspec.structs.replace(first, output=told)
        nothing = {"seconds": 0.0, "cpu_s": None, "max_rss_mb": None}
        return (first, *(msgspec.structs.replace(one, **nothing) for one in rest))

    def _made(self, found: Seen, commands: Sequence[Command], stop: Stop, ground: Ground) -> _Made:
        """Run the set-up over the files that it may see, and store what it made if it passed."""
        assert self._store is not None
        with self._holder() as holder:
            made = holder.path / "made"
            tree, home = made / "tree", made / "home"
            with writing("a set-up"):
                found.write(tree)
                home.mkdir()
            results = []
            for command in commands:
                ended, fetched = self._run(command, tree, home, stop)
                result = evidence(command, ended, fetched)
                results.append(msgspec.structs.replace(result, snapshot=found.key))
                if not result.passed:
                    return _Made(results, cut=ended.timed_out or ended.stopped)
            hollow = "\0".join(one.path for one in found.files if one.hollow).encode()
            tidy, kit = ("sh", "-c", _TIDY), Kit(home=home)
            ended = self._sandbox.run(tidy, tree, timeout_s=_COPY_S, stdin=hollow, kit=kit)
            with writing("a set-up"):
                kept = ended.exit_code == 0 and self._store.keep(ground.repo, found.key, made)
            return _Made(results, kept=kept)

    def _surroundings(self) -> str:
        """Return what decides about a set-up besides files: the sandbox, its tools, its sources.

        A folder's time changes with the tools in it.
        """
        digest = hashlib.sha256()
        path = tool_path(host_path() if self._path is None else self._path).path
        for folder in path.split(os.pathsep):
            try:
                told = Path(folder).stat()
            except OSError:
                continue
            digest.update(f"{folder}\0{told.st_ino}\0{told.st_mtime_ns}\0".encode())
        settings = {
            name: value for name, value in asdict(self._config).items() if name not in _NO_MATTER
        }
        return f"{self._sandbox.name} {platform.machine()} {settings} {digest.hexdigest()}"

    # --- running ---

    def _each(
        self, commands: Sequence[Command], tree: Path, home: Path, stop: Stop
    ) -> Sequence[CommandResult]:
        """Run the set-up in the tree itself, up to what fails and may not."""
        results: list[CommandResult] = []
        for command in commands:
            ended, fetched = self._run(command, tree, home, stop)
            results.append(evidence(command, ended, fetched))
            if (not results[-1].passed and not command.allow_fail) or stop():
                break
        return results

    def _run(
        self, command: Command, tree: Path, home: Path, stop: Stop
    ) -> tuple[Finished, tuple[Fetched, ...]]:
        call, timeout_s = ("sh", "-c", command.run), command.timeout_s
        if self._proxy is None:
            kit = Kit(home=home)
            return self._sandbox.run(call, tree, timeout_s=timeout_s, stop=stop, kit=kit), ()
        with self._proxy.open() as visit:
            with self._sandbox.reach(visit.socket) as url:
                ended = self._sandbox.run(
                    call,
                    tree,
                    timeout_s=timeout_s,
                    stop=stop,
                    env=variables(url),
                    kit=Kit(home=home, socket=visit.socket),
                )
            fetched = visit.log()
        if ended.exit_code != 0:
            refused = dict.fromkeys(one.refused for one in fetched if one.refused)
            told = "".join(f"[not fetched: {reason}]\n" for reason in refused)
            ended = msgspec.structs.replace(ended, output=f"{ended.output}{told}")
        return ended, fetched

    @contextmanager
    def _holder(self) -> Iterator[Holder]:
        with writing("a set-up"):
            holder = hold(self._holders)
        try:
            yield holder
        finally:
            self._cleaner.discard(holder.path, "setup")
            holder.release()
