"""How fast is a log understood, and in how much memory? Beside a naive keyword scan, in one run.

Each measure is a fresh process over the same made-up logs: an Actions job that fails in a late
step, a log without any marks, one that is all marks, one line without end. A corpus is read too
when REGREEN_SHARED names a folder that has one.
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
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.table import Table

from bot.failures.classify import classify

SIZE = 100 << 20  # bytes
STAMP = "2026-01-10T22:40:29.4290000Z "
KEYWORDS = re.compile(rb"(?i)error|failed|fatal|exception|timed out|denied|killed|refused")
CORPUS_KIND = "corpus, long logs"


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


def _marks() -> Iterator[str]:
    while True:
        yield f"{STAMP}##[group]Run x\n{STAMP}##[error]y\n"


def _line() -> Iterator[str]:
    while True:
        yield "a" * 10_000


LOGS: dict[str, tuple[Callable[[], Iterator[str]], str]] = {
    "job of 100 MB": (
        _job,
        (
            f"{STAMP}##[group]Run pytest\n{STAMP}##[endgroup]\n"
            f"{STAMP}FAILED tests/a.py::b - assert 1\n"
            f"{STAMP}##[error]Process completed with exit code 1.\n"
        ),
    ),
    "no marks, 100 MB": (_plain, "FAILED tests/a.py::b - assert 1\n"),
    "only marks, 100 MB": (_marks, "\n"),
    "one line of 100 MB": (_line, "\n"),
}


def run(console: Console) -> None:
    """Measure everything and print the table."""
    table = Table("log", "", "MB/s", "seconds", "peak MB", "answer", title="classifier")
    kinds = [*LOGS, *([CORPUS_KIND] if _corpus() else [])]
    for kind in kinds:
        for reader in ("naive", "classify"):
            with console.status(f"{reader}: {kind}"):
                done = subprocess.run(
                    [sys.executable, "-m", "tests.benchmarks.classify", kind, reader],
                    capture_output=True,
                    check=True,
                )
            told = json.loads(done.stdout)
            table.add_row(
                kind,
                reader,
                f"{told['bytes'] / 1e6 / told['seconds']:.0f}",
                f"{told['seconds']:.2f}",
                f"{told['peak'] / 1e6:.0f}",
                told["answer"],
            )
    console.print(table)


def naive(log: BinaryIO) -> str:
    """Return the number of lines with a keyword."""
    return f"{sum(1 for line in log if KEYWORDS.search(line))} lines"


def ours(log: BinaryIO) -> str:
    """Return the kind of failure."""
    return classify(log).type


def _corpus() -> list[bytes]:
    shared = os.environ.get("REGREEN_SHARED", "")  # noqa: TID251 -- where material may lie
    path = Path(shared, "corpus", "dev.jsonl.gz")
    if not path.is_file():
        return []
    with gzip.open(path, "rt") as lines:
        records = [json.loads(line) for line in lines]
    return [record["text"].encode() for record in records if record["full_job_log"]]


class _Made:
    """A log that is made while it is read, so that it takes no memory by itself."""

    def __init__(self, kind: str) -> None:
        make, self._end = LOGS[kind]
        lines = make()
        block = ""
        while len(block) < 1 << 20:
            block += next(lines)
        self._block = block.encode()
        self._left = SIZE // len(block)
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


def _measure(kind: str, reader: str) -> dict[str, object]:
    read: Callable[[BinaryIO], str] = naive if reader == "naive" else ours
    if kind == CORPUS_KIND:
        logs = _corpus()
        begun = time.process_time()
        for log in logs:
            read(io.BytesIO(log))
        seconds = time.process_time() - begun
        answer, size = f"{len(logs)} logs", sum(map(len, logs))
    else:
        made = _Made(kind)
        begun = time.process_time()
        answer = read(made)  # type: ignore[arg-type]  # has what is used of a binary file
        seconds, size = time.process_time() - begun, SIZE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"bytes": size, "seconds": seconds, "peak": peak, "answer": answer}


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:])))  # noqa: T201 -- the answer to the process above
