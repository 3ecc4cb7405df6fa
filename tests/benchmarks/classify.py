"""How fast is a log understood, and in how much memory? Beside a naive keyword scan, in one run.

Each measure is a fresh process over the same made-up logs: an Actions job that fails in a late
step, a log without any marks, one line without end, and what a hostile job would write. "Growth"
is how much longer a log takes than its half: 2 is linear, less is better. A corpus is read too,
again and again up to the same size, when REGREEN_SHARED names a folder that has one.
"""

import gzip
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.table import Table

from bot.failures.classify import classify

SIZE = 100 << 20  # bytes
STAMP = "2026-01-10T22:40:29.4290000Z "
KEYWORDS = re.compile(rb"(?i)error|failed|fatal|exception|timed out|denied|killed|refused")
CORPUS_KIND = "corpus, long logs"
SHARED = os.environ.get("REGREEN_SHARED", "")  # noqa: TID251 -- where material may lie
CORPUS = Path(SHARED, "corpus", "dev.jsonl.gz")


def _job() -> Iterator[str]:
    """Yield a job whose steps pass, noisily, for ever."""
    while True:
        yield f"{STAMP}##[group]Run make part\n{STAMP}shell: bash\n{STAMP}##[endgroup]\n"
        for number in range(5000):
            yield f"{STAMP}  [{number}] checked module_{number} error_count=0 failed=0 in 0.01s\n"


def _plain() -> Iterator[str]:
    while True:
        for number in range(5000):
            yield f"[{number}] compiling src/module_{number}.c -> build/module_{number}.o\n"


def _again(piece: str) -> Callable[[], Iterator[str]]:
    return lambda: repeat(piece)


END = "FAILED tests/a.py::b - assert 1\n"
RUN = f"{STAMP}##[group]Run x\n"
LOGS: dict[str, tuple[Callable[[], Iterator[str]], str]] = {
    "job": (
        _job,
        f"{RUN}{STAMP}##[endgroup]\n{STAMP}{END}{STAMP}##[error]exit code 1\n",
    ),
    "no marks": (_plain, END),
    "one line": (_again("a" * 10_000), "\n"),
    "only marks": (_again(f"{RUN}{STAMP}##[error]y\n"), "\n"),
    "only errors": (_again("##[error]\n"), "\n"),
    "only failing steps": (
        _again(f"{RUN}shell: x\n{STAMP}##[endgroup]\n{STAMP}##[error]y\n"),
        "\n",
    ),
    "many marks in a line": (_again("##[error]" * 27_000 + "\n"), "\n"),
    "other columns each line": (_again(f"a\tb\t{STAMP}x\na\tc\t{STAMP}x\n"), "\n"),
    "open escapes": (_again("\x1b]8;;" * 60 + "\n"), "\n"),
    "evidence each line": (_again("a.py:1:1: F401 x\nerror: x\nnpm ERR! code ECONNRESET\n"), END),
}


def run(console: Console) -> None:
    """Measure everything and print the table."""
    columns = ("log of 100 MB", "", "MB/s", "seconds", "growth", "peak MB", "answer")
    table = Table(*columns, title="classifier")
    for kind in [*LOGS, *([CORPUS_KIND] if CORPUS.is_file() else [])]:
        for reader in ("naive", "classify"):
            with console.status(f"{reader}: {kind}"):
                told = _told(kind, reader, SIZE)
                half = _told(kind, reader, SIZE // 2) if reader == "classify" else None
            table.add_row(
                kind,
                reader,
                f"{told['bytes'] / 1e6 / told['seconds']:.0f}",
                f"{told['seconds']:.2f}",
                f"{told['seconds'] / half['seconds']:.1f}" if half else "",
                f"{told['peak'] / 1e6:.0f}",
                told["answer"],
            )
    console.print(table)


def _told(kind: str, reader: str, size: int) -> dict[str, Any]:
    """Return what a fresh process measures."""
    command = [sys.executable, "-m", "tests.benchmarks.classify", kind, reader, str(size)]
    done = subprocess.run(command, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def naive(log: BinaryIO) -> str:
    """Return the number of lines with a keyword."""
    return f"{sum(1 for line in log if KEYWORDS.search(line))} lines"


def ours(log: BinaryIO) -> str:
    """Return the kind of failure."""
    return classify(log).type


def _corpus() -> list[bytes]:
    with gzip.open(CORPUS, "rt") as lines:
        records = [json.loads(line) for line in lines]
    return [record["text"].encode() for record in records if record["full_job_log"]]


class _Made:
    """A log that is made while it is read, so that it takes no memory by itself."""

    def __init__(self, kind: str, size: int = SIZE) -> None:
        make, self._end = LOGS[kind]
        lines = make()
        block = ""
        while len(block) < 1 << 20:
            block += next(lines)
        self._block = block.encode()
        self._left = size // len(block)
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(1 << 20):
            yield from data.splitlines(keepends=True)

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and self._left >= 0:
            self._rest += self._block if self._left else self._end.encode()
            self._left -= 1
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _measure(kind: str, reader: str, size: str = str(SIZE)) -> dict[str, object]:
    read = naive if reader == "naive" else ours
    if kind == CORPUS_KIND:
        logs = _corpus()
        total = sum(map(len, logs))
        times = -(-int(size) // total)
        begun = time.process_time()
        for log in logs * times:
            read(io.BytesIO(log))
        answer, total = f"{len(logs)} logs, {times} times", total * times
    else:
        made = _Made(kind, int(size))
        begun = time.process_time()
        answer = read(made)  # type: ignore[arg-type]  # has what is used of a binary file
        total = int(size)
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"bytes": total, "seconds": seconds, "peak": peak, "answer": answer}


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:])))  # noqa: T201 -- the answer to the process above
