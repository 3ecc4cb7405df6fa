"""Chooses the files that a model must see to mend a failure.

In this order: files that the signals locate, files that the logs and the plan name, what those
import, the tests of sources and the sources of tests, the project's own manifests. A long file is
shown around the lines that matter. The whole is capped; what does not fit is in the listing by
name.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from bot.backends.prompt import clean, one_line, untrusted
from bot.backends.tree import TreeView
from bot.domain.values import Task

TOTAL = 60_000  # characters of all files together
_FILE = 20_000  # a longer file is shown in part
_AROUND = 60  # lines shown on each side of a place
_LISTED = 400  # paths in the listing
_NAMED = re.compile(r"(?<![\w.@+~/\\-])[\w.@+~/\\-]{1,300}\.[A-Za-z]\w{0,9}\b")
_PYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ ]+([.\w]+)[ ]+import[ ]+\(?([\w ,]*)|import[ ]+([\w., ]+))", re.MULTILINE
)
_SCRIPT_IMPORT = re.compile(r"""(?:from|import|require\()\s*\(?['"](\.{1,2}/[^'"]+)['"]""")
_SCRIPT_ENDS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".vue", "/index.ts", "/index.js")
_TEST_NAME = re.compile(r"^test_|[_.-](?:test|spec)s?$|(?<=[a-z0-9])Tests?$")
_MANIFESTS = ("pyproject.toml", "setup.cfg", "ruff.toml", "package.json", "go.mod", "Cargo.toml")
_LOCKS = re.compile(r"(?:^|/)(?:[\w.-]*lock[\w.-]*|go\.sum|[\w.-]+\.(?:min\.js|map|svg))$")


def files(view: TreeView, task: Task) -> str:
    """Return the chosen files, each fenced under its path."""
    lines, left, shown = _lines(view, task), TOTAL, []
    for path in choose(view, task):
        text = view.text(path)
        if text is None:
            continue
        label, part = _part(path, clean(text), lines.get(path, ()))
        if len(part) > left:
            continue
        left -= len(part)
        shown.append(untrusted(label, part, _FILE))
    return "\n\n".join(shown)


def listing(view: TreeView) -> str:
    """Return the paths of the tree, capped."""
    paths = "\n".join(view.files[:_LISTED])
    more = len(view.files) - _LISTED
    return untrusted("Files of the repository", paths, 20_000) + (
        f"\nand {more} more" if more > 0 else ""
    )


def choose(view: TreeView, task: Task) -> tuple[str, ...]:
    """Return the paths that matter, most telling first."""
    found: dict[str, None] = {}
    for path in _named(view, task):
        found.setdefault(path)
    first = tuple(found)
    for path in first:
        found.update(dict.fromkeys(_counterparts(view, path)))
    for path in tuple(found):
        found.update(dict.fromkeys(_imports(view, path)))
    found.update((path, None) for path in _MANIFESTS if path in view)
    return tuple(path for path in found if not _LOCKS.search(path))


def _named(view: TreeView, task: Task) -> Iterator[str]:
    for step in task.steps:
        for place in step.signal.locations:
            if (path := view.find(place.path)) is not None:
                yield path
    for text in _texts(task):
        for match in _NAMED.finditer(text):
            if (path := view.find(match[0])) is not None:
                yield path


def _texts(task: Task) -> Iterator[str]:
    for step in task.steps:
        yield from (evidence.text for evidence in step.signal.evidence)
        yield step.signal.message
        yield step.signal.excerpt
        yield from step.run_lines
    yield task.plan
    yield task.feedback


def _lines(view: TreeView, task: Task) -> dict[str, tuple[int, ...]]:
    """Return the lines that the signals point at, by path."""
    lines: dict[str, tuple[int, ...]] = {}
    for step in task.steps:
        for place in step.signal.locations:
            path = view.find(place.path)
            if path is not None and place.line > 0:
                lines[path] = (*lines.get(path, ()), place.line)
    return lines


def _part(path: str, text: str, around: Iterable[int]) -> tuple[str, str]:
    """Return a file's label and what is shown of it."""
    label = one_line(path)
    if len(text) <= _FILE:
        return label, text
    lines = text.split("\n")
    wanted = sorted(
        {
            number
            for line in (*around, 1)
            for number in range(max(1, line - _AROUND), min(len(lines), line + _AROUND) + 1)
        }
    )
    kept = [f"[line {wanted[0]}]", lines[wanted[0] - 1]]
    for before, number in pairwise(wanted):
        if number != before + 1:
            kept.append(f"[… lines {before + 1} to {number - 1} left out …]")
        kept.append(lines[number - 1])
    return f"{label}, in part; it has {len(lines)} lines", "\n".join(kept)[:_FILE]


def _counterparts(view: TreeView, path: str) -> Iterator[str]:
    """Yield a source's tests, or a test's source: `test_a.py`, `a.spec.ts`, `ATest.java`."""
    own = PurePosixPath(path)
    bare = _TEST_NAME.sub("", own.stem).casefold()
    is_test = bare != own.stem.casefold()
    for other in view.files:
        its = PurePosixPath(other)
        if its.suffix != own.suffix or other == path:
            continue
        stem = _TEST_NAME.sub("", its.stem).casefold()
        if stem == bare and is_test != (stem != its.stem.casefold()):
            yield other


def _imports(view: TreeView, path: str) -> Iterator[str]:
    text = view.text(path) or ""
    if path.endswith(".py"):
        yield from _python_imports(view, path, text)
    folder = PurePosixPath(path).parent
    for match in _SCRIPT_IMPORT.finditer(text):
        target = _joined(folder, match[1])
        yield from (target + end for end in _SCRIPT_ENDS if target + end in view)


def _python_imports(view: TreeView, path: str, text: str) -> Iterator[str]:
    for match in _PYTHON_IMPORT.finditer(text):
        module, names, plain = match[1], match[2] or "", match[3] or ""
        wanted = [word.split(" as ")[0].strip() for word in plain.split(",") if word.strip()]
        if module:
            parts = [word.split(" as ")[0].strip() for word in names.split(",") if word.strip()]
            wanted = [module, *(f"{module.rstrip('.')}.{part}" for part in parts)]
            if not module.strip("."):
                wanted = [f"{module}{part}" for part in parts]
        for name in wanted:
            yield from _module(view, path, name)


def _module(view: TreeView, path: str, name: str) -> Iterator[str]:
    """Yield the file of a Python module, looked for from the root, `src` and the importer."""
    rest = name.lstrip(".")
    up = len(name) - len(rest)
    tail = rest.replace(".", "/")
    folder = PurePosixPath(path).parent
    if up:
        folders = [folder.parents[up - 2] if up - 2 < len(folder.parents) and up > 1 else folder]
    else:
        folders = [PurePosixPath(), PurePosixPath("src"), folder]
    for start in folders:
        for end in (".py", "/__init__.py"):
            candidate = str(start / f"{tail}{end}")
            if tail and candidate in view:
                yield candidate


def _joined(folder: PurePosixPath, relative: str) -> str:
    """Return a relative path seen from *folder*, with its dots worked out."""
    parts = list(folder.parts)
    for part in relative.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
