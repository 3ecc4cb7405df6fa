"""Tasks for backends, with defaults; a test names only what it is about."""

from collections.abc import Mapping
from pathlib import Path

from bot.domain.values import (
    Check,
    CheckKind,
    CheckState,
    FailingStep,
    FailureType,
    Location,
    PullRef,
    Severity,
    Signal,
    Task,
)


def a_failing_step(
    kind: FailureType = FailureType.TEST_ASSERT,
    *,
    tool: str = "",
    at: tuple[str, ...] = (),
    run: tuple[str, ...] = (),
    excerpt: str = "",
) -> FailingStep:
    locations = tuple(Location(path, 1) for path in at)
    signal = Signal(
        kind, 0.9, Severity.MEDIUM, "it fails", tool=tool, locations=locations, excerpt=excerpt
    )
    return FailingStep(Check("ci", CheckKind.JOB, CheckState.FAILED), signal, run)


def a_task(*steps: FailingStep, title: str = "Add prices", **changes) -> Task:
    return Task(PullRef("acme/shop", 7), title, steps or (a_failing_step(),), **changes)


def fill(tree: Path, files: Mapping[str, str]) -> Path:
    """Write *files* into *tree*, newlines as they are."""
    for path, text in files.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())
    return tree


def texts(tree: Path) -> dict[str, str]:
    """Return every file of *tree*, links by their target."""
    return {
        str(path.relative_to(tree)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes().decode(errors="replace")
        for path in sorted(tree.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
