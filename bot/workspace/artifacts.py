"""The gatekeeper's artifact: what one verification ran, and what came of it, as one JSON file.

One is kept for each verification, whatever its end, under the name of its time, so that recording
the same verification twice leaves one file. The fields are seed 1's, and some more.
"""

import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import msgspec
from msgspec import UNSET, Struct, UnsetType

from bot.domain.ports import Finished
from bot.domain.values import Command, CommandResult, Fetched, Review, Verification

HEAD = 16 * 1024  # characters kept of the beginning of an output
TAIL = 48 * 1024  # and of its end, where test runners say what failed
_ERRORS = 4000  # characters of a failing command's output that count as its errors


class Resources(Struct, frozen=True, omit_defaults=True):
    """What a command used; absent where that was not measured."""

    cpu_seconds: float | None = None
    max_rss_mb: float | None = None


class SandboxFacts(Struct, frozen=True):
    """Where the commands ran: the driver, its network mode and its limits for one command."""

    driver: str = ""
    network: str = "none"
    memory_mb: int = 0
    processes: int = 0


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One command; `output` has its head and tail, `errors` the end of a failure's.

    `part_of` is the command of which this one is a part that ran first, such as a failing test
    alone.
    """

    success: bool
    passed: bool
    exit_code: int
    command: str
    output: str
    errors: str
    allow_fail: bool
    seconds: float
    resources: Resources
    timeout: bool | UnsetType = UNSET
    note: str | UnsetType = UNSET
    part_of: str | UnsetType = UNSET
    snapshot: str | UnsetType = UNSET
    fetched: tuple[Fetched, ...] | UnsetType = UNSET


class Artifact(Struct, frozen=True, forbid_unknown_fields=True):
    """The file `features/<run>/gatekeeper/<YYYYMMDD_HHMMSS_ffffff>.json`.

    `stage` is preflight, gatekeeper or ci; `order` names the commands as they ran, `seconds` is
    what all of them took together.
    """

    approved: bool
    reason: str
    verification: dict[str, Entry]
    timestamp: str
    diff_fingerprint: str
    stage: str
    order: tuple[str, ...]
    seconds: float
    sandbox: SandboxFacts
    test_results: dict[str, dict[str, int]] | UnsetType = UNSET
    evidence: dict[str, str] | UnsetType = UNSET
    review: Review | UnsetType = UNSET
    merge_commit: str | UnsetType = UNSET
    weakened: tuple[str, ...] = ()


def artifact(verification: Verification, at: datetime, sandbox: SandboxFacts) -> Artifact:
    """Return the artifact of a verification."""
    return Artifact(
        approved=verification.approved,
        reason=verification.reason,
        verification={result.name: _entry(result) for result in verification.results},
        timestamp=at.astimezone(UTC).isoformat(),
        diff_fingerprint=verification.diff_fingerprint,
        stage=verification.stage.value,
        order=tuple(result.name for result in verification.results),
        seconds=round(sum(result.seconds for result in verification.results), 3),
        sandbox=msgspec.structs.replace(sandbox, driver=verification.sandbox or sandbox.driver),
        test_results=verification.test_results or UNSET,
        evidence=dict(verification.evidence) or UNSET,
        review=verification.review or UNSET,
        merge_commit=verification.merge_commit or UNSET,
        weakened=verification.weakened,
    )


def evidence(command: Command, ended: Finished, fetched: tuple[Fetched, ...] = ()) -> CommandResult:
    """Return what came of a command that has ended.

    A part of a command that ends as its runner does for other reasons than a failing test decides
    nothing: its result may fail, and says so.
    """
    passed = ended.exit_code == 0 and not ended.fault
    vague = bool(command.telling) and not ended.fault and ended.exit_code not in command.telling
    tells_nothing = vague and not passed
    return CommandResult(
        name=command.name,
        command=command.run,
        exit_code=ended.exit_code,
        passed=passed,
        allow_fail=command.allow_fail or tells_nothing,
        seconds=round(ended.seconds, 3),
        output=capped(ended.output),
        timed_out=ended.timed_out,
        fetched=fetched,
        part_of=command.part_of,
        cpu_s=ended.cpu_s,
        max_rss_mb=ended.max_rss_mb,
        note=f"this tells nothing: {command.part_of} decides" if tells_nothing else ended.fault,
    )


def capped(text: str) -> str:
    """Return the head and the tail of a text; a gap says how much is left out."""
    left_out = len(text) - HEAD - TAIL
    if left_out <= 0:
        return text
    return f"{text[:HEAD]}\n[… {left_out} characters left out …]\n{text[-TAIL:]}"


def write(root: Path, run: str, content: Artifact, at: datetime) -> Path:
    """Write the file below *root* and return its path; it is there whole or not at all."""
    folder = root / "features" / _plain(run) / "gatekeeper"
    path = folder / f"{at.astimezone(UTC).strftime('%Y%m%d_%H%M%S_%f')}.json"
    text = msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=2)
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, text + b"\n")
    return path


def _entry(result: CommandResult) -> Entry:
    output = capped(result.output)
    return Entry(
        success=result.passed,
        passed=result.passed,
        exit_code=result.exit_code,
        command=result.command,
        output=output,
        errors="" if result.passed else output[-_ERRORS:],
        allow_fail=result.allow_fail,
        seconds=result.seconds,
        resources=Resources(result.cpu_s, result.max_rss_mb),
        timeout=result.timed_out or UNSET,
        note=result.note or UNSET,
        part_of=result.part_of or UNSET,
        snapshot=result.snapshot or UNSET,
        fetched=result.fetched or UNSET,
    )


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
