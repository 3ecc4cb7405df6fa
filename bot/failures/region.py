"""Where in the log the failing step failed.

A log tells mostly of steps that passed, and their words mislead. So each format that marks its
steps (GitHub and Azure `##[group]` and `##[error]`, `gh run view --log` columns, Travis folds and
exit lines, GitLab sections) is cut into steps, and only those that failed are looked at, the first
first. A log without marks is one region; it is searched as a whole.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from bot.failures.clean import clean, columns

HEAD_LINES = 4000
TAIL_LINES = 26000
MAX_REGIONS = 4
TAIL_SHOWN = 60  # lines of a job that passed

STEP_BEGINS = re.compile(
    rb"##\[group\]Run |Post job cleanup\.$|##\[section\]Starting: |##\[command\]/usr/bin/docker run"
)
MARKS = re.compile(rb"##\[|Post job cleanup\.|Current runner version:|Cleaning up orphan processes")
JOB_BEGINS = re.compile(rb"Current runner version:")
JOB_ENDED = re.compile(
    rb"Cleaning up orphan processes|##\[section\]Finishing: (?:Finalize Job|Job)"
)
CANCELLED = re.compile(rb"##\[error\]The operation was cancell?ed")
TRAVIS_EXIT = re.compile(rb'The command "(.{0,400})" (?:failed and )?exited with (\d+)')
SUCCESS = re.compile(
    rb"^(?:Finished: SUCCESS|Job succeeded|Done\. Your build exited with 0\.?|exit 0|exit code:? 0"
    rb"|.{0,40}Successful task run with exit code: 0.*|Build succeeded\.?|BUILD SUCCESSFUL.*"
    rb"|\[INFO\] BUILD SUCCESS|The command \".*\" exited with 0\.)$"
)
GITLAB_SECTION = re.compile(rb"section_start:\d+:(\w+)")
GITLAB_AFTER = (b"after_script", b"upload_artifacts", b"cleanup", b"archive_cache")
SHELL = re.compile(rb"^(?:\S{0,60} ?)?\$ (\S.*)$")


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


@dataclass(slots=True)
class Step:
    """A step while it is being read: where its echo and its output begin and end, its errors."""

    name: bytes
    command: bytes
    begin: int
    body: int
    end: int = 0
    failed: bool = False
    cancelled: bool = False


def regions(raw: bytes, failed_steps: Sequence[str] = ()) -> tuple[Region, ...]:
    """Return the failing regions of *raw*, the root first; one region when none is marked."""
    lines = raw.split(b"\n")
    if b"##[" in raw and (b"##[group]" in raw or b"##[error]" in raw or b"##[section]" in raw):
        return _actions(lines, failed_steps)
    lines = [clean(line) for line in _without_columns(lines)]
    if b"travis_" in raw or TRAVIS_EXIT.search(raw):
        found = _travis(lines)
        if found:
            return found
    if b"section_start:" in raw:
        return (_gitlab(raw.split(b"\n"), lines),)
    return (_plain(lines),)


def _without_columns(lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        cut = columns(line) if b"\t" in line else None
        yield cut[2] if cut else line


def _actions(lines: list[bytes], failed_steps: Sequence[str]) -> tuple[Region, ...]:
    steps, ended = _steps(lines)
    failing = [step for step in steps if step.failed]
    if not failing and ended:
        return (Region(_cleaned(lines[-TAIL_SHOWN:]), _numbers(lines, TAIL_SHOWN), End.PASSED),)
    if not failing:
        output = [index for step in steps for index in range(step.body, step.end)]
        return (_region(_Cleaned(lines), output, End.UNSAID),)
    wanted = {name.encode() for name in failed_steps}
    failing.sort(key=lambda step: (step.cancelled, bool(wanted) and step.name not in wanted))
    return tuple(_failed(lines, step) for step in failing[:MAX_REGIONS])


def _failed(lines: list[bytes], step: Step) -> Region:
    echo = _cleaned(lines[step.begin + 1 : min(step.body, step.begin + 200)])
    command = b"\n".join([step.command, *echo]).decode("utf-8", "replace")
    name = step.name.decode("utf-8", "replace")
    return _region(_Cleaned(lines), range(step.body, step.end), End.FAILED, name, command)


class _Cleaned:
    """Lines that are cleaned when they are asked for: most of a log never is."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def __getitem__(self, index: int) -> bytes:
        return _text(self._lines[index])


def _cleaned(lines: list[bytes]) -> list[bytes]:
    return [_text(line) for line in lines]


def _numbers(lines: list[bytes], last: int) -> range:
    return range(max(0, len(lines) - last) + 1, len(lines) + 1)


def _text(line: bytes) -> bytes:
    cut = columns(line) if b"\t" in line else None
    return clean(cut[2] if cut else line)


def _steps(lines: list[bytes]) -> tuple[list[Step], bool]:
    """Cut an Actions log into steps; the echo of a step's script is its command, not its output."""
    steps = [Step(b"", b"", -1, 0)]
    prefix = name = b""
    header = ended = False
    for index, line in enumerate(lines):
        if not (prefix and line.startswith(prefix)) and b"\t" in line:
            cut = columns(line)
            if cut:
                prefix, name, header = b"\t".join(cut[:2]) + b"\t", cut[1], False
                steps[-1].end = index
                steps.append(Step(name, b"", index - 1, index))
        if not MARKS.search(line):
            continue
        text = _text(line)
        if STEP_BEGINS.match(text) or JOB_BEGINS.match(text):
            command = text.removeprefix(b"##[group]")
            known = name if name != b"UNKNOWN STEP" else b""
            steps[-1].end = index
            steps.append(Step(known or command, command.removeprefix(b"Run "), index, index + 1))
            header = text.startswith(b"##[group]Run ")
        elif header:
            header = not text.startswith(b"##[endgroup]")
            steps[-1].body = index + 1
        elif text.startswith(b"##[error]"):
            steps[-1].failed = True
            steps[-1].cancelled = CANCELLED.match(text) is not None
        ended = ended or JOB_ENDED.match(text) is not None
    steps[-1].end = len(lines)
    return steps, ended


def _region(
    texts: Sequence[bytes] | _Cleaned,
    wanted: Sequence[int],
    end: End,
    step: str = "",
    command: str = "",
) -> Region:
    if len(wanted) > HEAD_LINES + TAIL_LINES:
        wanted = [*wanted[:HEAD_LINES], *wanted[-TAIL_LINES:]]
    lines = [texts[index] for index in wanted]
    return Region(lines, [index + 1 for index in wanted], end, step, command)


def _travis(lines: list[bytes]) -> tuple[Region, ...]:
    """Return each command that Travis says has failed, from its echo to its exit line."""
    found: list[Region] = []
    begins = 0
    for index, line in enumerate(lines):
        exit_line = TRAVIS_EXIT.search(line)
        if exit_line is None:
            continue
        if exit_line[2] != b"0":
            echo = b"$ " + exit_line[1].split(b"\\n")[0][:60]
            start = max(
                (at for at in range(begins, index) if lines[at].startswith(echo)), default=begins
            )
            command = exit_line[1].decode("utf-8", "replace")
            found.append(_region(lines, range(start, index + 1), End.FAILED, "", command))
        begins = index + 1
    if found:
        return tuple(found[:MAX_REGIONS])
    passed = any(SUCCESS.match(line) for line in lines[-40:])
    return (_region(lines, range(len(lines)), End.PASSED if passed else End.UNSAID),)


def _gitlab(raw_lines: list[bytes], lines: list[bytes]) -> Region:
    start = 0
    for index, line in enumerate(raw_lines):
        section = GITLAB_SECTION.search(line)
        if section and not section[1].startswith(GITLAB_AFTER):
            start = index
    failed = any(line.startswith(b"ERROR: Job failed") for line in lines[-20:])
    passed = any(line == b"Job succeeded" for line in lines[-20:])
    end = End.FAILED if failed else End.PASSED if passed else End.UNSAID
    return _region(lines, range(start if failed else 0, len(lines)), end)


def _plain(lines: list[bytes]) -> Region:
    tail = [line for line in lines[-60:] if line][-12:]
    passed = any(SUCCESS.match(line) for line in tail)
    commands = [found[1] for found in map(SHELL.match, lines[:400]) if found]
    return _region(
        lines,
        range(len(lines)),
        End.PASSED if passed else End.UNSAID,
        "",
        commands[-1].decode("utf-8", "replace") if commands else "",
    )
