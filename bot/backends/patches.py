"""Turns a model's answer into changed files, all of them or none.

`parse` reads edits from text. `plan` works out what they make of the files, and writes nothing.
`write` puts that into a tree. Each says with a `Misfit` what a person, or the model's next try,
must know. Only regular files inside the tree are ever read or written; what a patch may touch
beyond that is the guard's decision, not ours.
"""

import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.backends import blocks, diffs
from bot.backends.blocks import Replacement, WholeFile
from bot.backends.diffs import FileDiff, Hunk
from bot.backends.matching import Misfit, Place, locate

__all__ = ["Misfit", "Written", "apply", "declines", "parse", "plan", "write"]

Edit = FileDiff | Replacement | WholeFile

_DECLINES = re.compile(r"\bno[ _-]changes?[ _-](?:(?:is|are)[ _-])?(?:needed|required|necessary)\b")
_LEFT_OUT = re.compile(
    r"^\W*(?:\.\.\.|…)?\W*(?:(?:the )?(?:rest|remainder) of|(?:existing|unchanged|remaining|other))"
    r"[\w ]{0,40}(?:code|file|function|class|method|content|unchanged|imports|tests)\b.*$",
    re.IGNORECASE,
)
_FUZZ = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (1, 2), (2, 2))
_MOST_BYTES = 5_000_000
_MOST_EDITS = 500


@dataclass(frozen=True, slots=True)
class Written:
    """A file's new text; `executable` is None where the mode stays as it is."""

    text: str
    executable: bool | None = None


Changes = Mapping[str, Written | None]  # by path; None is a deletion


def parse(answer: str) -> tuple[Edit, ...]:
    """Return the edits in *answer*, in order of kind; raise Misfit when it holds none."""
    if "\r\n" in answer and answer.count("\r\n") == answer.count("\n"):
        answer = answer.replace("\r\n", "\n")
    lines = answer.split("\n")
    replacing, lines = blocks.replacements(lines)
    whole, lines = blocks.whole_files(lines)
    patching = diffs.read(lines)
    if replacing or patching:  # then a loosely labelled block is an illustration
        whole = tuple(one for one in whole if one.sure)
    edits: tuple[Edit, ...] = (*whole, *patching, *replacing)
    if not edits:
        raise Misfit("the answer holds no patch")
    if len(edits) > _MOST_EDITS:
        raise Misfit(f"the answer holds {len(edits)} edits; {_MOST_EDITS} are the most")
    return edits


def declines(answer: str) -> bool:
    """Tell whether an answer without edits says that nothing needs to change."""
    return bool(_DECLINES.search(answer.lower()))


def plan(edits: Sequence[Edit], read: Callable[[str], str | None]) -> Changes:
    """Return what *edits* make of the files; *read* gives a file's text, None when it is missing.

    Later edits see what earlier ones did. Files that end up as they were are left out.
    """
    files = _Files(read)
    for edit in edits:
        match edit:
            case FileDiff():
                _patch(edit, files)
            case Replacement():
                _replace(edit, files)
            case WholeFile():
                path = checked(edit.path)
                _complete(path, edit.text, files.text(path) or "")
                files.put(path, Written(edit.text))
    return files.changes()


def apply(edits: Sequence[Edit], tree: Path) -> tuple[str, ...]:
    """Apply *edits* to *tree*, all or none; return the paths that changed."""
    changes = plan(edits, lambda path: _text(tree, path))
    write(changes, tree)
    return tuple(sorted(changes))


def checked(path: str) -> str:
    """Return *path* in its plain form; raise Misfit when it leads out of the tree or into git."""
    parts = path.removeprefix("./").split("/")
    bad = not path or path.startswith(("/", "~")) or "\\" in path or not path.isprintable()
    if bad or any(part in {"", ".", ".."} for part in parts):
        raise Misfit(f"the path {path!r} is not one inside the repository")
    # Names that some file system takes for `.git`.
    if any(part.rstrip(". ").casefold() in {".git", "git~1"} for part in parts):
        raise Misfit(f"the path {path!r} lies in git's own folder")
    return "/".join(parts)


class _Files:
    """The files as the edits so far leave them."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read = read
        self._before: dict[str, str | None] = {}
        self._now: dict[str, Written | None] = {}

    def text(self, path: str) -> str | None:
        if path in self._now:
            written = self._now[path]
            return written.text if written is not None else None
        if path not in self._before:
            self._before[path] = self._read(path)
        return self._before[path]

    def put(self, path: str, written: Written | None) -> None:
        self.text(path)
        self._now[path] = written

    def changes(self) -> Changes:
        return {
            path: written
            for path, written in self._now.items()
            if (written.text if written else None) != self._before[path]
            or (written is not None and written.executable is not None)
        }


def _patch(edit: FileDiff, files: _Files) -> None:
    path = next((one for one in edit.paths() if files.text(checked(one)) is not None), None)
    target = checked(path or edit.paths()[0])
    before = files.text(target)
    if edit.creates and before:
        raise Misfit(f"{target} exists already, and the patch would create it")
    if before is None and not (edit.creates or _only_adds(edit)):
        raise Misfit(f"{target} does not exist")
    if before is None:
        files.put(target, Written(_created(edit), edit.executable))
        return
    if edit.deletes:
        files.put(target, None)
        return
    after, drift = before, 0
    for number, hunk in enumerate(edit.hunks, start=1):
        after, drift = _with_hunk(after, hunk, drift, f"hunk {number} of {target}")
    if edit.renamed:
        files.put(target, None)
        target = checked(edit.new)
        if files.text(target) is not None:
            raise Misfit(f"{target} exists already, and the patch would move a file there")
    files.put(target, Written(after, edit.executable))


def _only_adds(edit: FileDiff) -> bool:
    return bool(edit.hunks) and all(sign == "+" for hunk in edit.hunks for sign, _ in hunk.lines)


def _created(edit: FileDiff) -> str:
    """Return the text of a file that was not there before."""
    lines = [text for hunk in edit.hunks for sign, text in hunk.lines if sign != "-"]
    open_end = bool(edit.hunks) and edit.hunks[-1].open_end
    return _joined(lines, final=not open_end)


def _with_hunk(text: str, hunk: Hunk, drift: int, name: str) -> tuple[str, int]:
    """Return *text* with *hunk* applied, and how far the lines after it have moved."""
    lines = _split(text)
    old = [line for sign, line in hunk.lines if sign != "+"]
    near = None if hunk.start is None else max(0, hunk.start + drift)
    hunk, place = _found(lines, hunk, old, near, name)
    old = [line for sign, line in hunk.lines if sign != "+"]
    end = place.start + len(old)
    new = _rewritten(lines[place.start : end], hunk, place, _ending(lines))
    final = text.endswith("\n") or not text
    if end == len(lines) and hunk.marked:
        final = not hunk.open_end
    after = [*lines[: place.start], *new, *lines[end:]]
    drift = len(new) - len(old) + (0 if hunk.start is None else place.start - hunk.start)
    return _joined(after, final=final), drift


def _found(
    lines: Sequence[str], hunk: Hunk, old: Sequence[str], near: int | None, name: str
) -> tuple[Hunk, Place]:
    """Return where a hunk belongs, and the hunk as it fits: outer context lines may be wrong."""
    if not old:
        if near is None and lines:
            raise Misfit(f"{name} has neither context nor a line number")
        return hunk, Place(min(near or 0, len(lines)), exact=not _ending(lines))
    try:
        if (place := locate(lines, old, near)) is not None:
            return hunk, place
        for head, tail in _FUZZ:
            trimmed = _trimmed(hunk, head, tail)
            if trimmed is None:
                continue
            fewer = [line for sign, line in trimmed.lines if sign != "+"]
            if fewer and (place := locate(lines, fewer, None)) is not None:
                return trimmed, place
    except Misfit as misfit:
        raise Misfit(f"{name} {misfit}") from misfit
    raise Misfit(f"{name} does not match: the file has no such lines as {_quoted(old)}")


def _trimmed(hunk: Hunk, head: int, tail: int) -> Hunk | None:
    """Return *hunk* without outer context lines, None when it does not have so many."""
    end = len(hunk.lines) - tail
    outer = (*hunk.lines[:head], *hunk.lines[end:])
    if head >= end or any(sign != " " for sign, _ in outer):
        return None
    start = None if hunk.start is None else hunk.start + head
    return Hunk(hunk.lines[head:end], start)


def _rewritten(old: Sequence[str], hunk: Hunk, place: Place, ending: str) -> list[str]:
    """Return the new lines; context stays as the file has it."""
    kept, new = iter(old), []
    for sign, text in hunk.lines:
        if sign == "+":
            new.append(place.adapted(text, ending))
        else:
            line = next(kept)
            new += [line] if sign == " " else []
    return new


def _replace(edit: Replacement, files: _Files) -> None:
    path = checked(edit.path)
    before = files.text(path)
    if not any(line.strip() for line in edit.search):
        if before and before.strip():
            raise Misfit(f"a SEARCH block for {path} is empty, but the file is not")
        files.put(path, Written(_joined(edit.replace, final=True)))
        return
    if before is None:
        raise Misfit(f"{path} does not exist")
    lines = _split(before)
    try:
        place = locate(lines, edit.search, None)
    except Misfit as misfit:
        raise Misfit(f"a SEARCH block for {path} {misfit}") from misfit
    if place is None:
        quoted = _quoted(edit.search)
        raise Misfit(f"a SEARCH block for {path} does not match: the file has no {quoted}")
    ending = _ending(lines)
    new = [place.adapted(line, ending) for line in edit.replace]
    after = [*lines[: place.start], *new, *lines[place.start + len(edit.search) :]]
    files.put(path, Written(_joined(after, final=before.endswith("\n"))))


def _complete(path: str, text: str, before: str) -> None:
    """Refuse a whole file that leaves parts out, as models do to save words."""
    known = set(_split(before))
    for line in _split(text):
        if ("..." in line or "…" in line) and line not in known and _LEFT_OUT.match(line):
            raise Misfit(f"the text given for {path} leaves parts out: {line.strip()[:80]!r}")


def _quoted(lines: Sequence[str]) -> str:
    first = next((line.strip() for line in lines if line.strip()), "")
    return repr(first[:80])


def _split(text: str) -> list[str]:
    """Return the lines of *text*; a carriage return stays at its line's end."""
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _joined(lines: Sequence[str], *, final: bool) -> str:
    return "\n".join(lines) + ("\n" if final and lines else "")


def _ending(lines: Sequence[str]) -> str:
    """Return what the file's lines end with before the line feed, by majority."""
    return "\r" if 2 * sum(line.endswith("\r") for line in lines) > len(lines) else ""


def _inside(tree: Path, path: str) -> Path:
    """Return where *path* lies; raise Misfit when a link or a file stands in the way."""
    here = tree
    parts = path.split("/")
    for at, part in enumerate(parts, start=1):
        here = here / part
        try:
            mode = here.lstat().st_mode
        except FileNotFoundError:
            return tree / path
        except OSError as error:
            raise Misfit(f"{path!r} cannot be a path here: {error.strerror}") from error
        fits = stat.S_ISREG(mode) if at == len(parts) else stat.S_ISDIR(mode)
        if not fits:
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no place for a file"
            raise Misfit(f"{path}: {'/'.join(parts[:at])} is {what}")
    return here


def _text(tree: Path, path: str) -> str | None:
    where = _inside(tree, path)
    if not where.exists():
        return None
    if where.stat().st_size > _MOST_BYTES:
        raise Misfit(f"{path} is too large to be patched")
    content = where.read_bytes()
    if b"\0" in content:
        raise Misfit(f"{path} is no text file")
    return content.decode(errors="surrogateescape")


def write(changes: Changes, tree: Path) -> None:
    """Put *changes* into *tree*; when a file cannot be written, nothing has changed."""
    places = {path: _inside(tree, path) for path in changes}
    staged: list[tuple[Path, Path]] = []
    try:
        for path, written in changes.items():
            if written is not None:
                staged.append((_staged(places[path], written), places[path]))
    except BaseException:
        for draft, _ in staged:
            draft.unlink()
        raise
    for draft, place in staged:
        draft.replace(place)
    for path, written in changes.items():
        if written is None:
            places[path].unlink(missing_ok=True)


def _staged(place: Path, written: Written) -> Path:
    """Write a new text beside its place and return the draft; a full disk is met here."""
    try:
        content = written.text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise Misfit(f"the text for {place.name} holds broken characters") from error
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
    if written.executable is not None:
        mode = 0o755 if written.executable else 0o644
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".regreen-", dir=place.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.chmod(mode)
    except BaseException:
        draft.unlink()
        raise
    return draft
