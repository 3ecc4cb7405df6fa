"""Reads unified diffs as models write them.

A hunk whose counts are right is read by its counts, so that any text survives. A hunk whose counts
are wrong is read as far as its lines look like a hunk. Inside a code fence a line that lost its
leading blank counts as context; the file decides whether that was right. Format:
https://git-scm.com/docs/diff-format#generate_patch_text_with_p
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bot.backends.matching import Misfit

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_PREFIX = re.compile(r"[ab]/")
_GIT = re.compile(r'diff --git (?:"?a/(.+?)"? "?b/(.+?)"?|(\S+) (\S+))$')
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_FENCES = ("```", "~~~")
_LINK, _SUBMODULE = "120000", "160000"
NOTHING = "/dev/null"


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk: lines as (sign, text); `start` is the index in the old file, None when unknown.

    `marked` says that the hunk speaks of a missing newline at the end, `open_end` that the new
    text has none.
    """

    lines: tuple[tuple[str, str], ...]
    start: int | None = None
    marked: bool = False
    open_end: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff does to one file; paths as they stand, `/dev/null` for none."""

    old: str
    new: str
    hunks: tuple[Hunk, ...] = ()
    renamed: bool = False
    executable: bool | None = None

    @property
    def creates(self) -> bool:
        """Whether the file must not be there before."""
        return self.old == NOTHING

    @property
    def deletes(self) -> bool:
        """Whether the file is gone afterwards."""
        return self.new == NOTHING

    def paths(self) -> tuple[str, ...]:
        """Return the paths that the patched file may have, likeliest first."""
        raw = self.old if self.deletes or self.renamed else self.new
        bare = _PREFIX.sub("", raw, count=1)
        if self.renamed:
            return (raw,)
        if self.old == self.new:  # written without prefixes, unless there is no such file
            return tuple(dict.fromkeys((raw, bare)))
        return (bare, raw) if self.deletes else (bare,)


def read(lines: Sequence[str]) -> tuple[FileDiff, ...]:
    """Return the diffs in *lines*, an answer with prose and fences; none when it holds none."""
    return tuple(_Reader(lines).diffs())


class _Reader:
    """A position in the lines of an answer."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0
        self._fenced = False

    def diffs(self) -> Iterator[FileDiff]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith("diff --git ") or self._names(self._at):
                yield self._file()
                continue
            if line.startswith(_FENCES):
                self._fenced = not self._fenced
            self._at += 1

    def _names(self, at: int) -> bool:
        """Tell whether a `---` and `+++` pair stands here."""
        return (
            at + 1 < len(self._lines)
            and self._lines[at].startswith("--- ")
            and self._lines[at + 1].startswith("+++ ")
        )

    def _file(self) -> FileDiff:
        found = FileDiff("", "")
        if self._lines[self._at].startswith("diff --git "):
            found = self._extended(self._lines[self._at])
        if self._names(self._at):
            old, new = (_path(line[4:]) for line in self._lines[self._at : self._at + 2])
            self._at += 2
            found = replace(found, old=old, new=new) if not found.renamed else found
        hunks: list[Hunk] = []
        while self._skips_to_hunk():
            hunks.append(self._hunk(f"hunk {len(hunks) + 1} of {found.new or found.old}"))
        changes = hunks or found.renamed or found.creates or found.deletes
        if not changes and found.executable is None:
            raise Misfit(f"the patch for {found.new or found.old} has no hunk (a line with @@)")
        return replace(found, hunks=tuple(hunks))

    def _extended(self, head: str) -> FileDiff:
        """Read git's own header lines, which say what the two names cannot."""
        match = _GIT.match(head)
        names = (match[1] or match[3], match[2] or match[4]) if match else ("", "")
        found = FileDiff(f"a/{names[0]}", f"b/{names[1]}")
        self._at += 1
        while self._at < len(self._lines):
            word, _, value = self._lines[self._at].partition(" ")
            if word not in {"index", "old", "new", "deleted", "similarity", "rename", "copy"} | {
                "dissimilarity"
            }:
                break
            found = _headed(found, word, value)
            self._at += 1
        rest = self._lines[self._at] if self._at < len(self._lines) else ""
        if rest.startswith(("GIT binary patch", "Binary files ")):
            raise Misfit("the patch changes a binary file")
        return found

    def _skips_to_hunk(self) -> bool:
        """Move over blank lines to the next hunk of the same file; tell whether there is one."""
        at = self._at
        while at < len(self._lines) and not self._lines[at].strip():
            at += 1
        if at == len(self._lines) or not self._lines[at].startswith("@@"):
            return False
        self._at = at
        return True

    def _hunk(self, name: str) -> Hunk:
        match = _HUNK.match(self._lines[self._at])
        self._at += 1
        start, counts = None, None
        if match:
            counts = tuple(1 if count is None else int(count) for count in (match[2], match[4]))
            # A hunk without old lines stands after the line that it names.
            start = int(match[1]) - (1 if counts[0] else 0)
        taken = self._counted(*counts) if counts else None
        if taken is None:
            taken = self._loose()
        self._at += len(taken)
        hunk = _made(taken, start)
        if not any(sign in "+-" for sign, _ in hunk.lines):
            raise Misfit(f"{name} changes nothing")
        return hunk

    def _counted(self, old: int, new: int) -> list[str] | None:
        """Take the lines that the header counts; None when the counts cannot be right."""
        taken: list[str] = []
        for line in self._lines[self._at :]:
            if old == new == 0 and not line.startswith("\\"):
                break
            sign = line[:1] or " "
            if sign not in " +-\\":
                return None
            old -= sign in " -"
            new -= sign in " +"
            if old < 0 or new < 0:
                return None
            taken.append(line)
        return taken if old == new == 0 and self._ends(self._at + len(taken)) else None

    def _ends(self, at: int) -> bool:
        """Tell whether a hunk can end before line *at*: nothing that it lost follows."""
        while self._fenced and at < len(self._lines) and not self._lines[at].strip():
            at += 1
        if at >= len(self._lines) or self._stops(at):
            return True
        return not self._fenced and self._lines[at][:1] not in {" ", "+", "-"}

    def _stops(self, at: int) -> bool:
        line = self._lines[at]
        return self._names(at) or line.startswith(("@@", "diff --git ", *_FENCES))

    def _loose(self) -> list[str]:
        taken: list[str] = []
        for at in range(self._at, len(self._lines)):
            line = self._lines[at]
            if self._stops(at) or not (self._fenced or line[:1] in {"", " ", "+", "-", "\\"}):
                break
            taken.append(line if line[:1] in {"", " ", "+", "-", "\\"} else f" {line}")
        while taken and not taken[-1]:
            taken.pop()
        return taken


def _headed(found: FileDiff, word: str, value: str) -> FileDiff:
    kind, _, rest = value.partition(" ")
    if kind in {"mode", "file"}:
        mode = rest.split()[-1] if rest else ""
        if mode in {_LINK, _SUBMODULE}:
            raise Misfit("the patch makes a link or a submodule")
        if word == "new":
            executable = mode.endswith("755")
            old = NOTHING if kind == "file" else found.old
            return replace(found, old=old, executable=executable)
        return replace(found, new=NOTHING) if word == "deleted" else found
    if word == "rename" and kind in {"from", "to"}:
        path = _path(rest)
        renamed = replace(found, renamed=True)
        return replace(renamed, old=path) if kind == "from" else replace(renamed, new=path)
    return found


def _made(taken: Sequence[str], start: int | None) -> Hunk:
    lines: list[tuple[str, str]] = []
    marked = open_end = False
    for line in taken:
        if line.startswith("\\"):
            marked = True
            open_end = open_end or (bool(lines) and lines[-1][0] in " +")
        else:
            lines.append((line[:1] or " ", line[1:]))
    return Hunk(tuple(lines), start, marked, open_end)


def _path(text: str) -> str:
    """Return the path of a header: without time stamp, and without git's quotes."""
    text = text.split("\t", maxsplit=1)[0].strip()
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':  # noqa: PLR2004  # the two quotes
        return text
    octets = _ESCAPE.sub(_unescaped, text[1:-1])
    return octets.encode("latin-1", "replace").decode(errors="replace")


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code, 8) & 0xFF) if len(code) > 1 else _LETTERS.get(code, code)
