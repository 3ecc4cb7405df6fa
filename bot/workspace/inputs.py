"""What a set-up may see while it is made for later runs: the files that its result depends on.

A stored set-up is right only where the same set-up in the tree would give the same. So it is made
over the lock files and manifests alone, and known by a hash of all that it could see: whoever makes
it can put nothing in that another tree with the same key would not have got, and code of the tree
itself can be in none. That only works for commands known to need nothing else. Any other set-up,
such as one that installs the project itself or runs its scripts, depends on the whole tree: `seen`
returns None for it, and it runs in each tree.
"""

import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_FORM = "1"  # another number makes all stored set-ups unknown
_MOST_BYTES = 64 * 1024 * 1024
_NODE = frozenset(
    {"package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "bun.lock"}
    | {"pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".yarnrc", ".yarnrc.yml", ".nvmrc"}
)
_PYTHON = frozenset({"pyproject.toml", "uv.lock", "uv.toml", "poetry.lock", "poetry.toml"})
_PDM = frozenset({"pyproject.toml", "pdm.lock", "pdm.toml"})
_GO = frozenset({"go.mod", "go.sum", "go.work", "go.work.sum"})
_RUST = frozenset({"Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"})
# What is known to need nothing but these files: the first words, what must stand among the others.
_INSTALLS: tuple[tuple[tuple[str, ...], str, frozenset[str]], ...] = (
    *((("npm", word), "", _NODE) for word in ("ci", "install", "i")),
    *((("pnpm", word), "", _NODE) for word in ("install", "i")),
    (("yarn", "install"), "", _NODE),
    (("yarn",), "", _NODE),
    (("bun", "install"), "", _NODE),
    (("uv", "sync"), "--no-install-project", _PYTHON),
    (("poetry", "install"), "--no-root", _PYTHON),
    (("pdm", "sync"), "--no-self", _PDM),
    (("go", "mod", "download"), "", _GO),
    (("cargo", "fetch"), "", _RUST),
)
_LIFE = frozenset(
    {"preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish"}
)
_WITH_VALUE = frozenset(
    {"-i", "--index-url", "--extra-index-url", "--trusted-host", "--timeout", "--retries"}
)
_LISTS = frozenset({"-r", "--requirement", "-c", "--constraint"})
_LOCAL = re.compile(rb"\bpath\s*=|\bworkspace\b|\bdevelop\s*=")  # code of the tree is installed
_VENV = re.compile(r"(\S*/)?(python[\d.]* -m venv|virtualenv|uv venv)( --?[\w-]+| [\w./][\w./-]*)*")
_PIP = re.compile(r"(?:(?:\S*/)?python[\d.]* -m |\S*/|uv )?pip[\d.]* install (?P<words>.+)")
_PLAIN = re.compile(r"set -\w+|mkdir (-p )?[\w./-]+|corepack enable|(\.|source) [\w./-]+/activate")
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,. -]+\])?(\s*[=<>!~]=?\s*[\w.*+!,<>=~ -]+)?")


@dataclass(frozen=True, slots=True)
class Given:
    """One file that a set-up sees; `path` is relative to the tree."""

    path: str
    content: bytes
    program: bool = False
    hollow: bool = False  # an empty one that stands for a file whose name alone counts


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a set-up sees, and the key that names it: a SHA-256, in hexadecimal digits."""

    files: tuple[Given, ...]
    key: str

    def write(self, tree: Path) -> None:
        """Write the files into a new folder."""
        tree.mkdir(parents=True)
        for given in self.files:
            path = tree / given.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(given.content)
            if given.program:
                path.chmod(0o755)


def seen(tree: Path, scripts: Sequence[str], surroundings: str) -> Seen | None:
    """Return what the set-up *scripts* see of *tree*, None when that may be anything.

    `surroundings` says what else decides about the result: the sandbox and its tools.
    """
    files, read = dict[str, Given](), 0
    try:
        for script in scripts:
            at = PurePosixPath()
            for words in _calls(script):
                if words[0] == "cd" and len(words) == 2:  # noqa: PLR2004  # and its folder
                    at /= _inside(words[1])
                    continue
                for one in _needs(tree, at, words):
                    files[one.path] = one
                    read += len(one.content)
                    if read > _MOST_BYTES:
                        return None
    except (_Whole, OSError, ValueError, RecursionError):
        return None
    digest = hashlib.sha256()
    for part in (_FORM, surroundings, *scripts):
        _add(digest, part.encode())
    for path in sorted(files):
        one = files[path]
        _add(digest, os.fsencode(path))
        _add(digest, b"x" if one.program else b"-")
        _add(digest, one.content)
    return Seen(tuple(files[path] for path in sorted(files)), digest.hexdigest())


class _Whole(Exception):  # an answer, not a fault
    """The set-up may depend on anything in the tree."""


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    digest.update(b"%d:" % len(part))
    digest.update(part)


def _calls(script: str) -> Iterator[list[str]]:
    """Yield the words of each call of a script that is nothing but calls in a row."""
    if re.search(r"[$`\\*?~#]", script):
        raise _Whole
    for line in script.splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word in {";", "&&"}:
                if words:
                    yield words
                words = []
            elif word and set(word) <= set("();<>|&"):
                raise _Whole
            else:
                words.append(word)


def _needs(tree: Path, at: PurePosixPath, words: list[str]) -> Iterable[Given]:
    """Return the files that one call in the folder *at* sees."""
    while words and re.fullmatch(r"[A-Za-z_]\w*=[\w.,:/@%+-]*", words[0]):
        words = words[1:]
    call = " ".join(words)
    if not words or _PLAIN.fullmatch(call) or _VENV.fullmatch(call):
        return ()
    if _PIP.fullmatch(call):
        return _pip(tree, at, words[words.index("install") + 1 :])
    for first, must, names in _INSTALLS:
        rest = words[len(first) :]
        plain = all(re.fullmatch(r"--?[\w-]+(=[\w.-]+)?", word) for word in rest)
        if tuple(words[: len(first)]) == first and plain and (not must or must in rest):
            return _manifests(tree, names)
    raise _Whole


def _pip(tree: Path, at: PurePosixPath, words: list[str]) -> Iterator[Given]:
    waiting, read = iter(words), set[str]()
    for word in waiting:
        option, equals, value = word.partition("=")
        if option in _LISTS:
            path = at / _inside(value if equals else next(waiting, ""))
            yield from _requirements(tree, path, read)
        elif option in _WITH_VALUE:
            if not equals:
                next(waiting, "")
        elif word.startswith("-"):
            if option in {"-e", "--editable", "-f", "--find-links", "-t", "--target"}:
                raise _Whole
            if not re.fullmatch(r"-[UqIv]+|--[a-z-]+(=[\w.,:-]+)?", word):
                raise _Whole
        elif not _NAMED.fullmatch(word) or os.path.lexists(tree / at / word):
            raise _Whole


def _requirements(tree: Path, path: PurePosixPath, read: set[str]) -> Iterator[Given]:
    """Yield a requirements file and those that it leads to; one that names a path is too much."""
    if str(path) in read:
        return
    read.add(str(path))
    given = _file(tree, str(path))
    yield given
    for written in given.content.decode().splitlines():
        line = re.sub(r"(^|\s)#.*", "", written).strip().removesuffix("\\").strip()
        words = line.replace("=", " ", 1).split() if line.startswith("--") else line.split()
        if not words or words[0].startswith("--hash"):
            continue
        if words[0] in _LISTS and len(words) == 2:  # noqa: PLR2004  # the option and its file
            yield from _requirements(tree, path.parent / _inside(words[1]), read)
        elif words[0].startswith("-"):
            if words[0] not in _WITH_VALUE | {
                "--pre",
                "--only-binary",
                "--no-binary",
                "--prefer-binary",
            }:
                raise _Whole
        elif not re.match(r"[A-Za-z0-9][\w.-]*\s*(\[|[=<>!~;]|@\s*https://|--hash|$)", line):
            raise _Whole


def _manifests(tree: Path, names: frozenset[str]) -> Iterator[Given]:
    for path in _walk(tree):
        name = path.rpartition("/")[2]
        if names is _RUST and name.endswith(".rs"):
            yield Given(path, b"", hollow=True)
        elif name in names or (names is _RUST and path.endswith(".cargo/config.toml")):
            given = _file(tree, path)
            if name == "package.json":
                _check_package(given.content)
            if name == "pyproject.toml" and _LOCAL.search(given.content):
                raise _Whole
            yield given


def _check_package(content: bytes) -> None:
    """Refuse a package that runs scripts of its own, or takes files, when it is installed."""
    read = json.loads(content)
    if not isinstance(read, dict) or "patchedDependencies" in content.decode():
        raise _Whole
    scripts = read.get("scripts") or {}
    if not isinstance(scripts, dict) or _LIFE & scripts.keys():
        raise _Whole
    if re.search(rb'"(file|link|portal|patch):', content):
        raise _Whole


def _walk(tree: Path) -> Iterator[str]:
    """Yield the paths of the ordinary files of a tree; links are not followed."""
    for folder, folders, names in os.walk(tree, onerror=_raise):
        folders[:] = [one for one in folders if one != "node_modules"]
        inside = os.path.relpath(folder, tree)
        for name in names:
            if stat.S_ISREG(os.lstat(f"{folder}/{name}").st_mode):
                yield name if inside == "." else f"{inside}/{name}"


def _inside(path: str) -> PurePosixPath:
    """Return a path that leads down only."""
    found = PurePosixPath(path)
    if not found.parts or found.is_absolute() or ".." in found.parts:
        raise _Whole
    return found


def _raise(error: OSError) -> None:
    raise error


def _file(tree: Path, path: str) -> Given:
    """Read a file of the tree that no link leads to."""
    above = tree
    for part in _inside(path).parts[:-1]:
        above /= part
        if above.is_symlink():
            raise _Whole
    told = (tree / path).lstat()
    if not stat.S_ISREG(told.st_mode) or told.st_size > _MOST_BYTES:
        raise _Whole
    return Given(
        str(PurePosixPath(path)), (tree / path).read_bytes(), program=bool(told.st_mode & 0o100)
    )
