"""The gatekeeper: runs the project's own commands over a patched tree and keeps the evidence.

One JSON artifact is kept for each verification, whatever its end, under the name of its time, so
that recording the same verification twice leaves one file.
"""

import errno
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec

from bot.domain.errors import NeedsPerson, TryLater
from bot.domain.ports import Kit, Sandbox
from bot.domain.values import Command, CommandResult, Ground, Verification
from bot.workspace.setup import NAME as SETUP
from bot.workspace.setup import NOWHERE, Setup

_ERRORS = 4000  # characters of a failing command's output that count as its errors


class LocalGatekeeper:
    """Verifies in a sandbox of this machine; artifacts lie under `artifacts_root/features`."""

    def __init__(self, sandbox: Sandbox, artifacts_root: Path, setup: Setup | None = None) -> None:
        self._sandbox = sandbox
        self._root = artifacts_root
        self._setup = setup or Setup(sandbox, artifacts_root)

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
                results.append(self._run(tree, command, stop, ready.kit))
        return results

    def record(self, run: str, verification: Verification, at: datetime) -> str:
        """Write the artifact and return its path below the root, which people may read."""
        name = at.astimezone(UTC).strftime("%Y%m%d_%H%M%S_%f")
        folder = self._root / "features" / _plain(run) / "gatekeeper"
        content = msgspec.json.encode(_artifact(verification, at), order="sorted")
        path = folder / f"{name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, msgspec.json.format(content, indent=2) + b"\n")
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise TryLater(f"The disk is full: {path} cannot be written.") from error
            raise NeedsPerson(f"{path} cannot be written: {error.strerror}.") from error
        return str(path.relative_to(self._root))

    def _run(
        self, tree: Path, command: Command, stop: Callable[[], bool], kit: Kit
    ) -> CommandResult:
        ended = self._sandbox.run(
            ("sh", "-c", command.run), tree, timeout_s=command.timeout_s, stop=stop, kit=kit
        )
        return CommandResult(
            name=command.name,
            command=command.run,
            exit_code=ended.exit_code,
            passed=ended.exit_code == 0 and not ended.timed_out and not ended.stopped,
            allow_fail=command.allow_fail,
            seconds=round(ended.seconds, 3),
            output=ended.output,
            timed_out=ended.timed_out,
        )


def _artifact(verification: Verification, at: datetime) -> dict[str, Any]:
    return {
        "approved": verification.approved,
        "reason": verification.reason,
        "verification": {result.name: _entry(result) for result in verification.results},
        "timestamp": at.astimezone(UTC).isoformat(),
        "diff_fingerprint": verification.diff_fingerprint,
        "sandbox": verification.sandbox,
    }


def _entry(result: CommandResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "success": result.passed,
        "passed": result.passed,
        "exit_code": result.exit_code,
        "command": result.command,
        "output": result.output,
        "errors": "" if result.passed else result.output[-_ERRORS:],
        "allow_fail": result.allow_fail,
        "seconds": result.seconds,
    }
    if result.timed_out:
        entry["timeout"] = True
    if result.snapshot:
        entry["snapshot"] = result.snapshot
    if result.fetched:
        entry["fetched"] = msgspec.to_builtins(result.fetched)
    return entry


def _plain(run: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", run) or "_"


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    made = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError:
        with suppress(OSError):
            made.unlink()
        raise
