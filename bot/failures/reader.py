"""Read a log once, in chunks, and keep the steps that failed.

Most of a log tells of steps that passed; it is neither cleaned nor kept. Marks are searched in
whole chunks. What a step wrote is kept up to `HEAD` and `TAIL` bytes, so that memory has a bound
however long the log; a line without an end is cut in its middle.
"""

import codecs
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import BinaryIO

from bot.failures.clean import clean, columns
from bot.failures.patterns import Pattern

CHUNK = 256 << 10
HEAD = 1 << 20  # bytes kept of the beginning of a step
TAIL = 6 << 20  # bytes kept of its end
HEAD_LINES = 4000
TAIL_LINES = 36000
LINE_KEPT = 64 << 10  # bytes kept of each end of a line that does not end
MAX_FAILED = 4
BLOCK = 64  # lines compared at once

Chunks = bytes | str | BinaryIO | Iterable[bytes]

MARKS = Pattern(
    r"##\[(?:group\]Run |endgroup|error\]|section\]|command\]/usr/bin/docker run)"
    r"|Post job cleanup\.|Current runner version:|Cleaning up orphan processes"
)
STEP_BEGINS = (
    b"##[group]Run ",
    b"##[section]Starting: ",
    b"##[command]/usr/bin/docker run",
    b"Current runner version:",
)
JOB_ENDED = (
    b"Cleaning up orphan processes",
    b"##[section]Finishing: Finalize Job",
    b"##[section]Finishing: Job",
)
CANCELLED = Pattern(r"^##\[error\]The operation was cancell?ed")
ENDED_BY = Pattern(
    r"^##\[error\].*(?:completed with exit code|exited with code|exit code|was cancell?ed"
    r"|exceeded the maximum|runner|No space left|timed out)"
)


class Kept:
    """The beginning and the end of something long, with the numbers of its lines."""

    __slots__ = ("head", "head_size", "tail", "tail_size")

    def __init__(self) -> None:
        self.head: list[tuple[int, bytes]] = []
        self.tail: deque[tuple[int, bytes]] = deque()
        self.head_size = self.tail_size = 0

    def add(self, number: int, data: bytes) -> None:
        """Keep *data*, whole lines of which the first has this number, or drop what is too old."""
        if self.head_size < HEAD and not self.tail:
            self.head.append((number, data))
            self.head_size += len(data)
            return
        self.tail.append((number, data))
        self.tail_size += len(data)
        while self.tail_size - len(self.tail[0][1]) >= TAIL:
            self.tail_size -= len(self.tail.popleft()[1])

    def text(self) -> tuple[bytes, list[int]]:
        """Return what is kept, with the number of each line; the middle may be missing."""
        pieces = deque([*self.head, *self.tail])
        kept: list[tuple[int, bytes]] = []
        count = 0
        while pieces and count < HEAD_LINES:
            kept.append(pieces.popleft())
            count += kept[-1][1].count(b"\n")
        ending: list[tuple[int, bytes]] = []
        count = 0
        while pieces and count < TAIL_LINES:
            ending.append(pieces.pop())
            count += ending[-1][1].count(b"\n")
        kept += reversed(ending)
        numbers: list[int] = []
        for number, data in kept:
            numbers += range(number, number + data.count(b"\n"))
        text = b"".join(data for _, data in kept)
        if text and not text.endswith(b"\n"):
            numbers.append(kept[-1][0] + kept[-1][1].count(b"\n"))
        return text.removesuffix(b"\n"), numbers or [1]


@dataclass(slots=True)
class Step:
    """A step while it is read: its echo, its output, what it says of its end."""

    name: bytes = b""
    command: bytes = b""
    echo: Kept = field(default_factory=Kept)
    body: Kept = field(default_factory=Kept)
    failed: bool = False
    cancelled: bool = False
    ended: bool = False  # its errors tell of the end of a process, not only of something wrong

    @property
    def hollow(self) -> bool:
        """Whether a script only wrote an error's mark: one that fails says how it ended."""
        return not self.ended and any(b"shell: " in data for _, data in self.echo.head)


class Steps:
    """Cuts a log into steps while it is read, and keeps those that failed.

    The echo of a step's script is its command, not its output. `marked` says whether any mark was
    seen; without one the whole log stands in `all`, as does the output of all steps otherwise.
    """

    def __init__(self) -> None:
        self.all = Kept()
        self.failing: list[Step] = []
        self.marked = self.ended = False
        self._step = Step()
        self._header = False
        self._line = 1
        self._prefix = b""
        self._name = b""

    def feed(self, data: bytes) -> None:
        """Read the next whole lines of the log."""
        begin = 0
        for cut, line in self._cuts(data):
            self._keep(data[begin:cut])
            begin = cut
            if line is None:
                self._columns(data, cut)
                continue
            self._mark(clean(line))
        self._keep(data[begin:])

    def close(self) -> None:
        """Read the end of the log."""
        self._finish()

    def _cuts(self, data: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield where a line with a mark begins, or (None) one with other columns than before."""
        marks = ((_begin(data, at), True) for at in MARKS.starts(data))
        if b"\t" not in data and not self._prefix:
            found: Iterable[tuple[int, bool]] = marks
        else:
            found = sorted([*marks, *((at, False) for at in self._changes(data))])
        last = -1
        for at, is_mark in found:
            if is_mark and at != last:
                last = at
                yield at, data[at : _end(data, at)]
            elif not is_mark:
                yield at, None

    def _changes(self, data: bytes) -> Iterator[int]:
        """Yield where lines begin whose job or step differ from those of the line before."""
        prefix = self._prefix
        if (
            prefix
            and data.startswith(prefix)
            and data.count(b"\n" + prefix) + 1 == data.count(b"\n")
        ):
            return
        lines = data.split(b"\n")
        at = done = 0
        while done < len(lines):
            block = lines[done : done + BLOCK]
            same = list(map(bytes.startswith, block, repeat(prefix))) if prefix else [False]
            kept = len(block) if all(same) else same.index(False)
            at += sum(map(len, block[:kept])) + kept
            done += kept
            if kept == len(block):
                continue
            cut = columns(lines[done]) if b"\t" in lines[done] else None
            if cut:
                prefix = b"\t".join(cut) + b"\t"
                yield at
            at += len(lines[done]) + 1
            done += 1

    def _columns(self, data: bytes, at: int) -> None:
        cut = columns(data[at : _end(data, at)])
        if cut is None:
            return
        self._prefix = b"\t".join(cut) + b"\t"
        self._name = cut[1] if cut[1] != b"UNKNOWN STEP" else b""
        self._begin(cut[1], b"")

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._step.body.add(self._line, data)
        if not self._header:
            self.all.add(self._line, data)
        self._line += data.count(b"\n")

    def _mark(self, text: bytes) -> None:
        """Take note of the mark in *text*, the next line of the log."""
        step = self._step
        if text.startswith(STEP_BEGINS) or text == b"Post job cleanup.":
            command = text.removeprefix(b"##[group]")
            self._begin(self._name or command, command.removeprefix(b"Run "))
            self._header = text.startswith(b"##[group]Run ")
            self.marked = True
        elif self._header:
            self._header = not text.startswith(b"##[endgroup]")
            step.echo, step.body = step.body, Kept()
        elif text.startswith(b"##[error]"):
            self.marked = step.failed = True
            step.cancelled = CANCELLED.matches(text)
            step.ended = step.ended or ENDED_BY.matches(text)
        elif text.startswith(JOB_ENDED):
            self.marked = self.ended = True

    def _begin(self, name: bytes, command: bytes) -> None:
        self._finish()
        self._step = Step(name, command)
        self._header = False

    def _finish(self) -> None:
        """Keep the step that ends if it failed and there is room."""
        if not self._step.failed:
            return
        self.failing.append(self._step)
        if len(self.failing) > MAX_FAILED:
            self.failing.remove(max(self.failing, key=_unlikely))


def _unlikely(step: Step) -> int:
    """Return how unlikely it is that the job failed by *step*: greater for the less likely."""
    return 2 * step.cancelled + step.hollow


def _begin(data: bytes, at: int) -> int:
    return data.rfind(b"\n", 0, at) + 1


def _end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return end if end >= 0 else len(data)


def read(log: Chunks) -> Steps:
    """Return the steps of *log*: text, bytes, a binary file or chunks of bytes."""
    steps = Steps()
    for data in _whole_lines(_utf8(_chunks(log))):
        steps.feed(data)
    steps.close()
    return steps


def _chunks(log: Chunks) -> Iterator[bytes]:
    if isinstance(log, str):
        for at in range(0, len(log), CHUNK):
            yield log[at : at + CHUNK].encode("utf-8", "replace")
    elif isinstance(log, bytes | bytearray | memoryview):
        view = memoryview(log)
        for at in range(0, len(view), CHUNK):
            yield bytes(view[at : at + CHUNK])
    elif hasattr(log, "read"):
        while data := log.read(CHUNK):
            yield data
    else:
        for chunk in log:
            view = memoryview(chunk)
            for at in range(0, len(view), CHUNK):
                yield bytes(view[at : at + CHUNK])


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield *chunks* as UTF-8 without byte order mark, if they are UTF-16."""
    first = next(chunks, b"")
    while 0 < len(first) < 4 and (more := next(chunks, b"")):  # noqa: PLR2004 (a mark and a sign)
        first += more
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif first[:400].count(b"\0") > len(first[:400]) // 4:
        encoding = "utf-16-be" if first[:1] == b"\0" else "utf-16-le"
    else:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).encode("utf-8", "replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "replace")


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield *chunks* cut at ends of lines; of a line without end both its ends."""
    rest = b""
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = chunk[cut:]
        else:
            rest += chunk
        if len(rest) > 2 * LINE_KEPT:
            rest = rest[:LINE_KEPT] + rest[-LINE_KEPT:]
    if rest:
        yield rest
