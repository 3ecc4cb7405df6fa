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
from bot.failures.reader import Chunks, Piece, Step, read

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
    steps = read(log, failed_steps)
    if not steps.marked:
        yield from _unmarked(steps.all.pieces())
        return
    # A script that only wrote an error's mark went on: when the job has ended, it does not count.
    failing = [step for step in steps.failing if step.named or not (steps.ended and step.hollow)]
    if failing:
        yield from map(_failed, failing)
    elif steps.ended:
        lines, numbers = _cleaned(steps.all.pieces(0, TAIL_SHOWN))
        yield Region(lines[-TAIL_SHOWN:], numbers[-TAIL_SHOWN:], End.PASSED)
    else:
        yield Region(*_cleaned(steps.all.pieces()), End.UNSAID)


def _unmarked(pieces: Sequence[Piece]) -> Iterator[Region]:
    """Yield the regions of a log whose steps Actions did not mark."""
    lines, numbers = _cleaned(pieces)
    spans = failed_spans([piece.data for piece in pieces], lines)
    for begin, end, command in spans:
        yield Region(lines[begin:end], numbers[begin:end], End.FAILED, "", command)
    if not spans:
        end_said = End.PASSED if passed(lines) else End.UNSAID
        yield Region(lines, numbers, end_said, "", last_command(lines))


def _cleaned(pieces: Sequence[Piece]) -> tuple[list[bytes], list[int]]:
    """Return the cleaned lines of *pieces* and their numbers."""
    lines: list[bytes] = []
    numbers: list[int] = []
    for piece in pieces:
        lines += cleaned(piece.data)
        numbers += range(piece.number, piece.number + piece.lines)
    return lines, numbers


def _failed(step: Step) -> Region:
    lines, numbers = _cleaned(step.body.pieces())
    echo = cleaned(b"\n".join(piece.data for piece in step.echo.pieces())[:ECHO])[1:]
    command = b"\n".join([step.command, *echo]).decode("utf-8", "replace")
    return Region(lines, numbers, End.FAILED, step.name.decode("utf-8", "replace"), command)
