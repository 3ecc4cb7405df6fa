"""Reads SEARCH/REPLACE blocks and whole files from a model's answer.

    path/to/file.py                     FILE: path/to/new_file.py
    <<<<<<< SEARCH                      ```python
    old lines                           the whole text
    =======                             ```
    new lines
    >>>>>>> REPLACE

The path may stand above or inside the code fence; a block without one belongs to the file of the
block before. A whole file must be labelled: a bare code block is only an illustration.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.backends.matching import Misfit

_SEARCH = re.compile(r"<{5,9} ?SEARCH\b")
_DIVIDER = re.compile(r"={5,9}\s*$")
_REPLACE = re.compile(r">{5,9} ?REPLACE\b")
_FENCE = re.compile(r"(`{3,}|~{3,})(.*)$")
_LABEL = re.compile(
    r"\W*(?:(?:new|full|whole|complete|updated)[ ]+)?(?:file(?:name)?|path)[`*]*[ ]*:[`* ]*(\S.*)$",
    re.IGNORECASE,
)
_EXACT_LABEL = "FILE:"
_PATHLIKE = re.compile(
    r"(?:[\w.@+()\[\]-]+/)*(?:[\w.@+()\[\]-]*\.[A-Za-z]\w*|Makefile|Dockerfile|Justfile)$|"
    r"(?:[\w.@+()\[\]-]+/)+[\w.@+()\[\]-]+$"
)
_PATCHLIKE = ("--- ", "diff --git ", "@@ ", "<<<<<<<")
_LOOK_BACK = 4  # lines above a block in which its path may stand


@dataclass(frozen=True, slots=True)
class Replacement:
    """One SEARCH/REPLACE block; an empty search makes a new file."""

    path: str
    search: tuple[str, ...]
    replace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file given whole; `sure` says that its label is the one we ask for."""

    path: str
    text: str
    sure: bool


def replacements(lines: Sequence[str]) -> tuple[tuple[Replacement, ...], list[str]]:
    """Return the SEARCH/REPLACE blocks, and the lines with those blanked."""
    found: list[Replacement] = []
    rest, at, path = list(lines), 0, ""
    while at < len(lines):
        if not _SEARCH.match(lines[at]):
            at += 1
            continue
        path = _path_above(rest, at) or path
        if not path:
            raise Misfit("a SEARCH block names no file on the line above it")
        middle = _next(_DIVIDER, lines, at + 1)
        end = _next(_REPLACE, lines, middle + 1)
        found.append(
            Replacement(path, tuple(lines[at + 1 : middle]), tuple(lines[middle + 1 : end]))
        )
        rest[at : end + 1] = [""] * (end + 1 - at)
        at = end + 1
    return tuple(found), rest


def whole_files(lines: Sequence[str]) -> tuple[tuple[WholeFile, ...], list[str]]:
    """Return the labelled whole files, and the lines with those blanked."""
    found: list[WholeFile] = []
    rest = list(lines)
    for start, end in _fenced(lines):
        label = _label_above(lines, start)
        content = lines[start + 1 : end]
        first = next((line for line in content if line.strip()), "")
        if label is None or first.startswith(_PATCHLIKE):
            continue
        path, sure = label
        found.append(WholeFile(path, "".join(f"{line}\n" for line in content), sure))
        rest[start : end + 1] = [""] * (end + 1 - start)
    return tuple(found), rest


def _next(wanted: re.Pattern[str], lines: Sequence[str], start: int) -> int:
    for at in range(start, len(lines)):
        if wanted.match(lines[at]):
            return at
    raise Misfit("a SEARCH/REPLACE block is not closed; the answer may have been cut off")


def _path_above(lines: Sequence[str], at: int) -> str:
    """Return the path on the nearest line above that is neither blank nor a fence, or ""."""
    for line in reversed(lines[max(0, at - _LOOK_BACK) : at]):
        if line.strip() and not _FENCE.match(line):
            return _path(line)
    return ""


def _path(line: str) -> str:
    """Return the path that a line is, with the dress that models give it taken off, or ""."""
    if label := _LABEL.match(line):
        return _bare(label[1])
    text = line.strip()
    if quoted := re.fullmatch(r"\W*`([^`]+)`\W*", text):
        text = quoted[1]
    text = text.strip("#* :`\"'")
    return text if _PATHLIKE.match(text) else ""


def _bare(path: str) -> str:
    return path.strip().strip("`*\"'").strip()


def _label_above(lines: Sequence[str], at: int) -> tuple[str, bool] | None:
    """Return the path in the label of a fence, and whether it is our own form of label."""
    for line in reversed(lines[max(0, at - 2) : at]):
        if not line.strip():
            continue
        label = _LABEL.match(line)
        return (_bare(label[1]), line.startswith(_EXACT_LABEL)) if label else None
    return None


def _fenced(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first and last line of each fence; a longer fence may hold shorter ones."""
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if not opening:
            at += 1
            continue
        mark = opening[1]
        close = re.compile(rf"{mark[0]}{{{len(mark)},}}\s*$")
        end = next((one for one in range(at + 1, len(lines)) if close.match(lines[one])), None)
        if end is None:
            return
        yield at, end
        at = end + 1
