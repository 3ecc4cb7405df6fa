"""Where in the log the failing step failed.

A log tells mostly of steps that passed, and their words mislead. So each format that marks its
steps (GitHub and Azure, `gh run view --log`, Travis, GitLab, Jenkins, Buildkite) is cut into steps,
and only those that failed are looked at, the first first. A log without marks is one region.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from bot.failures.clean import cleaned
from bot.failures.formats import failed_spans, last_command, passed
from bot.failures.reader import Chunks, Kept, Step, Steps, read

TAIL_SHOWN = 60  # lines of a job that passed
ECHO = 40_000  # bytes of a step's script


class End(Enum):
    """What the log says about the end of a region."""

    FAILED = "failed"  # its end is marked as a failure
    PASSED = "passed"  # the whole log is marked as a success
    UNSAID = "unsaid"


@dataclass(frozen=True, slots=True)
class Region:
    """Cleaned lines with their numbers in the log, what was run there, and how it ended."""

    lines: Sequence[bytes]
    numbers: Sequence[int]
    end: End
    step: str = ""
    command: str = ""


def regions(log: Chunks, failed_steps: Sequence[str] = ()) -> Iterator[Region]:
    """Yield the failing regions of *log*, the root first; one region when none is marked."""
    steps = read(log)
    if not steps.marked:
        yield from _unmarked(*steps.all.text())
        return
    failing = _failing(steps, failed_steps)
    if failing:
        yield from map(_failed, failing)
        return
    lines, numbers = _cleaned(steps.all)
    if steps.ended:
        yield Region(lines[-TAIL_SHOWN:], numbers[-TAIL_SHOWN:], End.PASSED)
    else:
        yield Region(lines, numbers, End.UNSAID)


def _unmarked(raw: bytes, numbers: list[int]) -> Iterator[Region]:
    """Yield the regions of a log whose steps Actions did not mark."""
    lines = cleaned(raw)
    spans = failed_spans(raw, lines)
    for begin, end, command in spans:
        yield Region(lines[begin:end], numbers[begin:end], End.FAILED, "", command)
    if not spans:
        end_said = End.PASSED if passed(lines) else End.UNSAID
        yield Region(lines, numbers, end_said, "", last_command(lines))


def _cleaned(kept: Kept) -> tuple[list[bytes], list[int]]:
    text, numbers = kept.text()
    return cleaned(text), numbers


def _failing(steps: Steps, failed_steps: Sequence[str]) -> list[Step]:
    """Return the steps that failed, the likely root first.

    A script that only wrote an error's mark went on: when the job has ended, it does not count
    unless it was named as failed.
    """
    wanted = {name.encode() for name in failed_steps}

    def named(step: Step) -> bool:
        return step.name in wanted

    found = [step for step in steps.failing if named(step) or not (steps.ended and step.hollow)]
    return sorted(found, key=lambda step: (step.cancelled, not named(step), step.hollow))


def _failed(step: Step) -> Region:
    lines, numbers = _cleaned(step.body)
    echo = cleaned(step.echo.text()[0][:ECHO])[1:]
    command = b"\n".join([step.command, *echo]).decode("utf-8", "replace")
    return Region(lines, numbers, End.FAILED, step.name.decode("utf-8", "replace"), command)
