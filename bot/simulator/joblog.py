"""The log of one job, written as GitHub Actions writes it.

Every line begins with its time to a ten-millionth of a second. Workflow commands in what a step
prints (`::error file=a.py,line=3::…`) become `##[error]…` and, for three of them, annotations.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LIMIT = 16 * 1024 * 1024  # bytes of one job's log
_COMMAND = re.compile(
    r"^::(?P<name>[a-z-]+)(?: (?P<properties>[^:]*(?::(?!:)[^:]*)*))?::(?P<text>.*)$"
)
_SHOWN = frozenset({"error", "warning", "notice", "debug", "group", "endgroup"})
_LEVELS: Mapping[str, str] = {"error": "failure", "warning": "warning", "notice": "notice"}
_ESCAPES = (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a step said about a line of a file; `level` is failure, warning or notice."""

    level: str
    message: str
    path: str = ".github"
    line: int = 0


class Log:
    """The lines of one job, in order; written by one thread at a time."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._masks = [text for text in secrets if text]
        self._parts: list[bytes] = []
        self._size = 0
        self.annotations: list[Annotation] = []

    def line(self, text: str) -> None:
        """Write one line of the runner's own."""
        self._write(text)

    def group(self, title: str, lines: Sequence[str]) -> None:
        """Write lines that are folded under a title."""
        self._write(f"##[group]{title}")
        for line in lines:
            self._write(line)
        self._write("##[endgroup]")

    def error(self, text: str) -> None:
        """Write an error of the runner's own, and annotate the job with it."""
        self._write(f"##[error]{text}")
        self.annotations.append(Annotation("failure", text))

    def output(self, line: str) -> None:
        """Write one line that a step printed."""
        found = _COMMAND.match(line)
        if found is None:
            self._write(line)
        elif found["name"] == "add-mask":
            self._masks += [found["text"]] if found["text"] else []
        elif found["name"] in _SHOWN:
            text = _plain(found["text"])
            self._write(f"##[{found['name']}]{text}")
            if found["name"] in _LEVELS:
                self._annotate(found["name"], found["properties"] or "", text)

    def content(self) -> bytes:
        """Return the whole log."""
        return b"".join(self._parts)

    def _annotate(self, name: str, properties: str, text: str) -> None:
        pairs = dict(part.strip().partition("=")[::2] for part in properties.split(","))
        line = pairs.get("line", "")
        path = _plain(pairs.get("file", ".github"))
        self.annotations.append(
            Annotation(_LEVELS[name], text, path, int(line) if line.isdigit() else 0)
        )

    def _write(self, text: str) -> None:
        if self._size > _LIMIT:
            return
        for mask in self._masks:
            text = text.replace(mask, "***")
        data = "".join(f"{_stamp()} {line}\n" for line in text.split("\n")).encode()
        self._size += len(data)
        if self._size > _LIMIT:
            data = f"{_stamp()} ##[warning]The log ends here, at {_LIMIT} bytes.\n".encode()
        self._parts.append(data)


def _plain(text: str) -> str:
    for escape, sign in _ESCAPES:
        text = text.replace(escape, sign)
    return text


def _stamp() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 100:07d}Z"
