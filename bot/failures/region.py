"""Where in the log the failing step failed.

A log tells mostly of steps that passed, and their words mislead. So each format that marks its
steps (GitHub and Azure `##[group]` and `##[error]`, `gh run view --log` columns, Travis folds and
exit lines, GitLab sections) is cut into steps, and only those that failed are looked at, the first
first. A log without marks is one region; it is searched as a whole.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from bot.failures.clean import clean, columns

HEAD_LINES = 4000
TAIL_LINES = 26000
MAX_REGIONS = 4

STEP_BEGINS = re.compile(
    rb"##\[group\]Run |Post job cleanup\.$|##\[section\]Starting: |##\[command\]/usr/bin/docker run"
)
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
    """A step while it is being read: line indices, the commands it echoes, its errors."""

    name: bytes
    body: list[int] = field(default_factory=list)
    command: list[bytes] = field(default_factory=list)
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
    texts, steps, ended = _steps(lines)
    failing = [step for step in steps if step.failed]
    if not failing:
        whole = _region(texts, range(len(texts)), End.PASSED if ended else End.UNSAID)
        return (whole,)
    wanted = {name.encode() for name in failed_steps}
    failing.sort(key=lambda step: (step.cancelled, bool(wanted) and step.name not in wanted))
    return tuple(
        _region(
            texts,
            step.body,
            End.FAILED,
            step.name.decode("utf-8", "replace"),
            b"\n".join(step.command).decode("utf-8", "replace"),
        )
        for step in failing[:MAX_REGIONS]
    )


def _steps(lines: list[bytes]) -> tuple[list[bytes], list[Step], bool]:
    """Cut an Actions log into steps; the echo of a step's script is its command, not its output."""
    texts: list[bytes] = []
    steps = [Step(b"")]
    key: tuple[bytes, bytes] | None = None
    header = False
    ended = False
    for index, line in enumerate(lines):
        cut = columns(line) if b"\t" in line else None
        if cut is None and key is not None and line.startswith(b"\t".join(key) + b"\t"):
            cut = (*key, line[len(key[0]) + len(key[1]) + 2 :])
        text = clean(cut[2] if cut else line)
        texts.append(text)
        if cut and cut[:2] != key:
            key = cut[:2]
            steps.append(Step(key[1]))
            header = False
        if STEP_BEGINS.match(text) or JOB_BEGINS.match(text):
            begins = text.removeprefix(b"##[group]")
            steps.append(Step(key[1] if key and key[1] != b"UNKNOWN STEP" else begins))
            header = text.startswith(b"##[group]Run ")
            steps[-1].command.append(begins.removeprefix(b"Run "))
            continue
        ended = ended or JOB_ENDED.match(text) is not None
        if header:
            header = not text.startswith(b"##[endgroup]")
            steps[-1].command.append(text)
            continue
        if text.startswith(b"##[error]"):
            steps[-1].failed = True
            steps[-1].cancelled = CANCELLED.match(text) is not None
        steps[-1].body.append(index)
    return texts, steps, ended


def _region(
    texts: Sequence[bytes], wanted: Sequence[int], end: End, step: str = "", command: str = ""
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
