"""The gatekeeper: runs the project's own commands over a patched tree and keeps the evidence."""

import errno
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bot.domain.errors import NeedsPerson, TryLater
from bot.domain.ports import NO_KIT, Kit, Sandbox
from bot.domain.values import Command, CommandResult, Counted, Ground, Verification
from bot.workspace.artifacts import SandboxFacts, artifact, evidence, write
from bot.workspace.collected import Collector
from bot.workspace.setup import NAME as SETUP
from bot.workspace.setup import NOWHERE, Setup


class LocalGatekeeper:
    """Verifies in a sandbox of this machine; artifacts lie under `artifacts_root/features`.

    `facts` says in them where the commands ran.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        artifacts_root: Path,
        setup: Setup | None = None,
        facts: SandboxFacts | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._root = artifacts_root
        self._collector = Collector(sandbox)
        self._setup = setup or Setup(sandbox, artifacts_root)
        self._facts = facts or SandboxFacts(sandbox.name)

    def verify(
        self,
        tree: Path,
        commands: Sequence[Command],
        stop: Callable[[], bool],
        ground: Ground = NOWHERE,
    ) -> Sequence[CommandResult]:
        """Set up, then run the commands in order, up to the first that fails and may not."""
        first = [command for command in commands if command.name == SETUP]
        with self._setup.ready(tree, first, stop, ground) as ready:
            results = list(ready.results)
            for command in (one for one in commands if one.name != SETUP):
                if stop() or any(not one.passed and not one.allow_fail for one in results):
                    break
                results.append(self.run(tree, command, stop, ready.kit))
        return results

    def tests(
        self,
        tree: Path,
        commands: Sequence[Command],
        stop: Callable[[], bool],
        ground: Ground = NOWHERE,
        *,
        ran: bool,
    ) -> Sequence[Counted]:
        """Return the tests that the commands would run; none where nobody can tell.

        The tree is set up for it, also when *ran*: the home folder of that set-up is gone. Where it
        fails, the runners are asked all the same.
        """
        collector = self._collector
        first = [command for command in commands if command.name == SETUP]
        rest = [command for command in commands if command.name != SETUP]
        needed = first if collector.asks(tree, rest, ran=ran) else ()
        with self._setup.ready(tree, needed, stop, ground) as ready:
            return collector.tests(tree, rest, stop, ready.kit, ran=ran)

    def run(
        self, tree: Path, command: Command, stop: Callable[[], bool], kit: Kit = NO_KIT
    ) -> CommandResult:
        """Run one command in any tree; no other file of this machine is in its reach."""
        ended = self._sandbox.run(
            ("sh", "-c", command.run), tree, timeout_s=command.timeout_s, stop=stop, kit=kit
        )
        return evidence(command, ended)

    def record(self, run: str, verification: Verification, at: datetime) -> str:
        """Write the artifact and return its path below the root, which people may read."""
        content = artifact(verification, at, self._facts)
        try:
            path = write(self._root, run, content, at)
        except OSError as error:
            where = error.filename or self._root
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise TryLater(f"The disk is full: {where} cannot be written.") from error
            raise NeedsPerson(f"{where} cannot be written: {error.strerror}.") from error
        return str(path.relative_to(self._root))
