"""Read a log once, in chunks, and keep the steps that failed.

Most of a log tells of steps that passed; it is neither cleaned nor kept. Marks are searched and
cleaned for a whole chunk at once. What a step wrote is kept up to `HEAD` and `TAIL` bytes, so that
memory has a bound however long the log; a line without an end is cut in its middle.
"""

import codecs
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import BinaryIO, NamedTuple

from bot.failures.clean import cleaned, columns, has_columns
from bot.failures.patterns import Pattern

CHUNK = 256 << 10
HEAD = 1 << 20  # bytes kept of the beginning of a step
TAIL = 6 << 20  # bytes kept of its end
HEAD_LINES = 4000
TAIL_LINES = 36000
LINE_KEPT = 64 << 10  # bytes kept of each end of a line that does not end
MAX_FAILED = 4
MAX_MARKS = 200_000  # more are no runner's work: what follows is output

Chunks = bytes | str | BinaryIO | Iterable[bytes]

# Python's own engine: a match costs it a fifth of what it costs RE2, and nothing here goes back.
TO_END = rb"[^\n]*"
MARK = re.compile(
    rb"##\[(?:group\]Run |endgroup|error\]|section\]|command\]/usr/bin/docker run)" + TO_END
)
PLAIN_MARKS = (b"Post job cleanup", b"Current runner version:", b"Cleaning up orphan processes")
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
CANCELLED = (b"##[error]The operation was canceled", b"##[error]The operation was cancelled")
ENDED_BY = Pattern(
    r"^##\[error\].*(?:completed with exit code|exited with code|exit code|was cancell?ed"
    r"|exceeded the maximum|runner|No space left|timed out)"
)


class Piece(NamedTuple):
    """Whole lines, the last without its end, and where in the log they stand."""

    number: int  # of the first
    lines: int
    data: bytes


class Kept:
    """The beginning and the end of something long."""

    __slots__ = ("head", "head_size", "tail", "tail_size")

    def __init__(self) -> None:
        self.head: list[Piece] = []
        self.tail: deque[Piece] = deque()
        self.head_size = self.tail_size = 0

    def add(self, piece: Piece) -> None:
        """Keep *piece*, or drop what is too old."""
        if self.head_size < HEAD and not self.tail:
            self.head.append(piece)
            self.head_size += len(piece.data)
            return
        self.tail.append(piece)
        self.tail_size += len(piece.data)
        while self.tail_size - len(self.tail[0].data) >= TAIL:
            self.tail_size -= len(self.tail.popleft().data)

    def pieces(self, first: int = HEAD_LINES, last: int = TAIL_LINES) -> list[Piece]:
        """Return at least the *first* and the *last* lines; those in the middle may be missing."""
        rest = deque([*self.head, *self.tail])
        kept: list[Piece] = []
        while rest and first > 0:
            kept.append(rest.popleft())
            first -= kept[-1].lines
        ending: list[Piece] = []
        while rest and last > 0:
            ending.append(rest.pop())
            last -= ending[-1].lines
        return kept + ending[::-1]


NOTHING = Kept()


@dataclass(slots=True)
class Step:
    """A step while it is read: its echo, its output, what it says of its end."""

    name: bytes = b""
    command: bytes = b""
    echo: Kept = NOTHING  # of its script, if it has one
    body: Kept = field(default_factory=Kept)
    failed: bool = False
    named: bool = False
    cancelled: bool = False
    ended: bool = False  # its errors tell of the end of a process, not only of something wrong

    @property
    def hollow(self) -> bool:
        """Whether a script only wrote an error's mark: one that fails says how it ended."""
        return not self.ended and any(b"shell: " in piece.data for piece in self.echo.head)

    def unlikely(self) -> tuple[bool, bool, bool]:
        """Return a key that orders steps by how unlikely it is that the job failed by them."""
        return self.cancelled, not self.named, self.hollow


class Steps:
    """Cuts a log into steps while it is read, and keeps those that failed.

    The echo of a step's script is its command, not its output. `marked` says whether any mark was
    seen; without one the whole log stands in `all`, as does the output of all steps otherwise.
    """

    def __init__(self, named: Collection[str] = ()) -> None:
        self.all = Kept()
        self.failing: list[Step] = []  # the likely root first
        self.marked = self.ended = False
        self._step = Step()
        self._header = False
        self._cuts = 0
        self._line = 1
        self._prefix = b"\n"  # no line begins so
        self._name = b""
        self._named = {name.encode() for name in named}

    def feed(self, data: bytes) -> None:
        """Read the next whole lines of the log."""
        if self._cuts > MAX_MARKS:
            self._header = False
            self._keep(data)
            return
        begin = 0
        cuts = sorted([*self._changes(data), *_marks(data)])
        self._cuts += len(cuts)
        for at, text, prefix in cuts:  # a cleaned line with a mark, or columns that are new
            begins = prefix or text.startswith(STEP_BEGINS) or text == b"Post job cleanup."
            if not begins and not (self._header and text.startswith(b"##[endgroup]")):
                self._note(text)
                continue
            self._keep(data[begin:at])
            begin = at
            if begins:
                self._begin(text, prefix)
            else:
                self._header = False
                self._step.echo, self._step.body = self._step.body, Kept()
        self._keep(data[begin:])

    def close(self) -> None:
        """Read the end of the log."""
        self._finish()

    def _changes(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield where lines begin whose job or step differ from those before, with both."""
        if not has_columns(data):
            return
        at = 0
        for line in data.split(b"\n"):
            if not line.startswith(self._prefix) and (prefix := columns(line)):
                self._prefix = prefix
                yield at, b"", prefix
            at += len(line) + 1

    def _keep(self, data: bytes) -> None:
        """Keep the next whole lines of the step."""
        if not data:
            return
        data = data.removesuffix(b"\n")
        piece = Piece(self._line, data.count(b"\n") + 1, data)
        self._line += piece.lines
        self._step.body.add(piece)
        if not self._header:
            self.all.add(piece)

    def _begin(self, text: bytes, prefix: bytes) -> None:
        """Begin the step of which the line *text* tells, or the one with other columns."""
        self._finish()
        if prefix:
            name = prefix.split(b"\t")[1]
            self._name = name if name != b"UNKNOWN STEP" else b""
            self._step = Step(name)
        else:
            command = text.removeprefix(b"##[group]")
            self._step = Step(self._name or command, command.removeprefix(b"Run "))
            self.marked = True
        self._header = text.startswith(b"##[group]Run ")

    def _note(self, text: bytes) -> None:
        """Take note of what a line of output says of the end of its step or of the job."""
        if self._header:
            return
        if text.startswith(b"##[error]"):
            self.marked = self._step.failed = True
            self._step.cancelled = text.startswith(CANCELLED)
            self._step.ended = self._step.ended or ENDED_BY.matches(text)
        elif text.startswith(JOB_ENDED):
            self.marked = self.ended = True

    def _finish(self) -> None:
        """Keep the step that ends if it failed and there is room."""
        if self._step.failed:
            self._step.named = self._step.name in self._named
            self.failing = sorted([*self.failing, self._step], key=Step.unlikely)[:MAX_FAILED]


def _marks(data: bytes) -> Iterable[tuple[int, bytes, bytes]]:
    """Return where lines with marks begin, with each such line cleaned."""
    spans = [mark.span() for mark in MARK.finditer(data)]
    for word in PLAIN_MARKS:
        if word in data:
            spans += [mark.span() for mark in re.finditer(word + TO_END, data)]
            spans.sort()
    begins: list[int] = []
    lines: list[bytes] = []
    last = 0
    for at, end in spans:
        if at >= last:  # a line may have several marks
            begin = data.rfind(b"\n", last, at) + 1 or last
            begins.append(begin)
            lines.append(data[begin:end])
            last = end
    return zip(begins, cleaned(b"\n".join(lines)), repeat(b"")) if lines else ()


def read(log: Chunks, named: Collection[str] = ()) -> Steps:
    """Return the steps of *log*: text, bytes, a binary file or chunks of bytes.

    Steps of which GitHub says that they failed are *named*.
    """
    steps = Steps(named)
    for data in _whole_lines(_utf8(_chunks(log))):
        steps.feed(data)
    steps.close()
    return steps


def _chunks(log: Chunks) -> Iterator[bytes]:
    """Yield *log* in chunks whose cuts do not depend on how it came."""
    rest: list[bytes] = []
    size = 0
    for piece in _pieces(log):
        rest.append(piece)
        size += len(piece)
        while size >= CHUNK:
            data = b"".join(rest)
            yield data[:CHUNK]
            rest = [data[CHUNK:]]
            size -= CHUNK
    yield b"".join(rest)


def _pieces(log: Chunks) -> Iterator[bytes]:
    if isinstance(log, str):
        for at in range(0, len(log), CHUNK):
            yield log[at : at + CHUNK].encode("utf-8", "replace")
    elif hasattr(log, "read"):
        while data := log.read(CHUNK):
            yield data
    else:
        for chunk in [log] if isinstance(log, bytes | bytearray | memoryview) else log:
            view = memoryview(chunk)
            for at in range(0, len(view), CHUNK):
                yield bytes(view[at : at + CHUNK])


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield *chunks* as UTF-8 without byte order mark, if they are UTF-16."""
    first = next(chunks)
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
