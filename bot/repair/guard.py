"""May this patch go on? Mechanical checks of a diff, before anything runs and before any push.

Each rule says what its finding means: refused for good (links, what cannot be read), for a person
to do by themselves (secrets), or for a person to let out once it is proved (protected paths,
weakened tests, size, binary files). A finding never quotes a secret. Paths are compared without
regard to case and on both sides of a rename.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from io import StringIO

import msgspec
from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from bot.config.schema import GuardPolicy
from bot.domain import leaks
from bot.domain.values import FailureType, Task, Value
from bot.repair.locks import unneeded_locks
from bot.repair.weakened import is_test, weaknesses

NOWHERE = "/dev/null"
WEAKENED_TESTS = "weakened_tests"  # the gate
SYMLINK = 0o120000
GITLINK = 0o160000
INDEX_LINE = re.compile(r"^index [0-9a-f]+\.\.[0-9a-f]+(?: [0-7]+)?\n?", re.MULTILINE)
ESCAPED = re.compile(r'\\([0-7]{3}|["\\abtnvfr])')
NAMED = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
# Git's own, and workflows: GitHub lets an App push those only with a permission that we lack.
UNTOUCHABLE = (".github/workflows/**", ".gitmodules", "**/.git", "**/.git/**", "**/git~1/**")


class Meaning(StrEnum):
    """What a finding means for the patch."""

    REFUSED = "refused"
    PERSON = "person"
    APPROVAL = "approval"


class Finding(Value, frozen=True):
    """One objection to a patch; `line` is 0 when it concerns the whole file."""

    rule: str
    path: str
    line: int
    message: str


class Verdict(Value, frozen=True):
    """All objections to a patch; `notes` say what readers should know and nothing objects to."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether the patch must not go on by itself."""
        return bool(self.findings)

    @property
    def approvable(self) -> bool:
        """Whether a person may let it out as it is."""
        return all(RULES[finding.rule] is Meaning.APPROVAL for finding in self.findings)

    @property
    def another_way(self) -> bool:
        """Whether another backend may well find a way that touches none of it."""
        return all(
            finding.rule in {"protected-path", "lock-file"}
            or RULES[finding.rule] is Meaning.REFUSED
            for finding in self.findings
        )

    @property
    def gates(self) -> tuple[str, ...]:
        """The approvals that it takes."""
        return tuple(sorted({GATES.get(finding.rule, "") for finding in self.findings} - {""}))

    @property
    def told(self) -> str:
        """The first objections in one sentence."""
        shown = (f"{one.path}: {one.message}".removeprefix(": ") for one in self.findings[:5])
        return "; ".join(shown)


RULES: dict[str, Meaning] = {
    "unreadable": Meaning.REFUSED,
    "protected-path": Meaning.APPROVAL,
    "outside-path": Meaning.REFUSED,
    "untouchable": Meaning.REFUSED,
    "symlink": Meaning.REFUSED,
    "gitlink": Meaning.REFUSED,
    "secret": Meaning.PERSON,
    "binary": Meaning.APPROVAL,
    "too-many-files": Meaning.APPROVAL,
    "too-many-lines": Meaning.APPROVAL,
    "lock-file": Meaning.APPROVAL,
    "test-file-removed": Meaning.APPROVAL,
    "tests-removed": Meaning.APPROVAL,
    "tests-skipped": Meaning.APPROVAL,
    "tests-deselected": Meaning.APPROVAL,
    "assertion-emptied": Meaning.APPROVAL,
    "assertions-removed": Meaning.APPROVAL,
    "expectations-changed": Meaning.APPROVAL,
}
GATES: dict[str, str] = {
    "protected-path": "protected_path",
    "lock-file": "protected_path",
    "binary": "binary",
    "too-many-files": "oversized",
    "too-many-lines": "oversized",
    "test-file-removed": WEAKENED_TESTS,
    "tests-removed": WEAKENED_TESTS,
    "tests-skipped": WEAKENED_TESTS,
    "tests-deselected": WEAKENED_TESTS,
    "assertion-emptied": WEAKENED_TESTS,
    "assertions-removed": WEAKENED_TESTS,
    "expectations-changed": WEAKENED_TESTS,
}


class Change(Value, frozen=True):
    """One file of a diff; a path is None on the side where the file does not exist."""

    old: str | None
    new: str | None
    old_mode: int
    new_mode: int
    binary: bool
    added: tuple[tuple[int, str], ...]
    removed: tuple[tuple[int, str], ...]

    @property
    def path(self) -> str:
        """The path to show."""
        return self.new or self.old or ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that the change touches."""
        return tuple(sorted({path for path in (self.old, self.new) if path is not None}))


def examine(diff: str, policy: GuardPolicy, *, task: Task | None = None) -> Verdict:
    """Return every objection to *diff*; *task* names the tests that failed, to say so."""
    try:
        changes = changed(diff)
    except (UnidiffParseError, ValueError) as error:
        return Verdict(
            (Finding("unreadable", "", 0, f"not a diff: {leaks.redact(str(error))[:200]}"),)
        )
    if not changes and diff.strip():
        return Verdict((Finding("unreadable", "", 0, "not a diff: it names no file"),))
    failing = {
        place.path for step in (task.steps if task else ()) for place in step.signal.locations
    }
    found = [*_size(changes, policy), *_locks(changes, task)]
    for change in changes:
        found += _paths(change, policy)
        found += _kinds(change)
        found += _secrets(change)
        found += _tests(change, failing)
    if not any(_is_code(change) for change in changes):
        found = [*_without_code(found, task)]
    return Verdict(tuple(found), tuple(note for change in changes for note in _modes(change)))


def leaking(diff: str) -> tuple[str, ...]:
    """Return where *diff* adds what looks like a secret, a sentence each; it quotes none."""
    try:
        found = [finding for change in changed(diff) for finding in _secrets(change)]
    except (UnidiffParseError, ValueError):
        return ()
    return tuple(f"{one.path}: {one.message}" for one in found)


def redact(text: str) -> str:
    """Return *text* without the secrets that we know how to see."""
    return leaks.redact(text)


def diff_fingerprint(diff: str) -> str:
    """Return a key that is equal for the same change, whatever its line ends and object names."""
    plain = diff.replace("\r\n", "\n")
    return hashlib.sha256(INDEX_LINE.sub("", plain).encode("utf-8", "surrogatepass")).hexdigest()


def changed(diff: str) -> tuple[Change, ...]:
    """Return the files that *diff* changes; raises UnidiffParseError when it is none."""
    return tuple(_change(file) for file in PatchSet(StringIO(diff, newline="\n")))


def _change(file: PatchedFile) -> Change:
    lines = [line for hunk in file for line in hunk]
    return Change(
        old=_path(file.source_file),
        new=_path(file.target_file),
        old_mode=_mode(file.source_mode),
        new_mode=_mode(file.target_mode),
        binary=bool(file.is_binary_file),
        added=tuple((line.target_line_no or 0, line.value) for line in lines if line.is_added),
        removed=tuple((line.source_line_no or 0, line.value) for line in lines if line.is_removed),
    )


def _mode(text: str | None) -> int:
    return int(text, 8) if text else 0


def _path(name: str | None) -> str | None:
    """Return a path without git's prefix, quotes and escapes; None for /dev/null."""
    if name is None or name == NOWHERE:
        return None
    if name.startswith('"'):
        raw = ESCAPED.sub(_unescaped, name.strip('"'))
        name = raw.encode("latin-1", "replace").decode("utf-8", "replace")
    return name[2:] if name[:2] in {"a/", "b/"} else name


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(NAMED[code] if code in NAMED else int(code, 8))


def _size(changes: tuple[Change, ...], policy: GuardPolicy) -> Iterator[Finding]:
    if len(changes) > policy.max_files:
        message = f"{len(changes)} files change, {policy.max_files} are allowed"
        yield Finding("too-many-files", "", 0, message)
    lines = sum(len(change.added) + len(change.removed) for change in changes)
    if lines > policy.max_lines:
        yield Finding(
            "too-many-lines", "", 0, f"{lines} lines change, {policy.max_lines} are allowed"
        )


def _locks(changes: tuple[Change, ...], task: Task | None) -> Iterator[Finding]:
    touched = [path for change in changes for path in change.paths]
    for path in unneeded_locks(touched, task.steps if task else ()):
        message = "a lock file changes without its manifest, and no failure asks for it"
        yield Finding("lock-file", leaks.redact(path), 0, message)


def _paths(change: Change, policy: GuardPolicy) -> Iterator[Finding]:
    for path in change.paths:
        shown = leaks.redact(path)
        plain = _plain(path)
        if plain.startswith("/") or ".." in plain.split("/") or ":" in plain.split("/")[0]:
            yield Finding("outside-path", shown, 0, "the path leaves the repository")
        if pattern := _first(UNTOUCHABLE, plain):
            yield Finding("untouchable", shown, 0, f"the path is not ours to change ({pattern})")
        elif pattern := _first(policy.protected, plain):
            yield Finding("protected-path", shown, 0, f"the path is protected ({pattern})")


def _first(patterns: Sequence[str], plain: str) -> str:
    """Return the first pattern that the path fits, empty when there is none."""
    return next((one for one in patterns if _glob(one).fullmatch(plain)), "")


def _plain(path: str) -> str:
    """Return *path* as the most forgiving file system would take it."""
    folded = unicodedata.normalize("NFKC", path).replace("\\", "/").casefold()
    visible = "".join(sign for sign in folded if unicodedata.category(sign) not in {"Cf", "Cc"})
    parts = [part if set(part) <= {"."} else part.rstrip(". ") for part in visible.split("/")]
    return "/".join(part for index, part in enumerate(parts) if part != "." and (part or not index))


@lru_cache(maxsize=256)
def _glob(pattern: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: `**` crosses folders, `*` and `?` do not."""
    translated = re.escape(unicodedata.normalize("NFKC", pattern).casefold())
    translated = re.sub(r"(?:\\\*\\\*/)+", "(?:.*/)?", translated)
    translated = re.sub(r"(?:\\\*){2,}", ".*", translated)
    return re.compile(translated.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def _without_code(found: Sequence[Finding], task: Task | None) -> Iterator[Finding]:
    """Yield what is found in a change of tests alone: to expect what the code does mends nothing.

    Where only a linter fails, how the tests are written is what was to be mended.
    """
    kinds = {step.signal.type for step in (task.steps if task else ())}
    for finding in found:
        if finding.rule != "expectations-changed":
            yield finding
        elif kinds != {FailureType.LINT}:
            told = f"{finding.message}, and no code changes"
            yield msgspec.structs.replace(finding, message=told)


def _is_code(change: Change) -> bool:
    return bool(change.added or change.removed) and not is_test(change.path)


def _modes(change: Change) -> Iterator[str]:
    """Tell of a file that becomes executable, or is so no more."""
    before, after = (bool(mode & 0o111) for mode in (change.old_mode, change.new_mode))
    if change.new_mode and before != after and (after or change.old_mode):
        became = "becomes executable" if after else "is executable no more"
        yield f"{leaks.redact(change.path)} {became}"


def _kinds(change: Change) -> Iterator[Finding]:
    shown = leaks.redact(change.path)
    modes = {change.old_mode & 0o170000, change.new_mode & 0o170000}
    if SYMLINK in modes:
        yield Finding("symlink", shown, 0, "symbolic links are not ours to change")
    if GITLINK in modes or any(line.startswith("Subproject commit ") for _, line in change.added):
        yield Finding("gitlink", shown, 0, "submodules are not ours to change")
    if change.binary:
        yield Finding("binary", shown, 0, "a binary file cannot be reviewed")


def _secrets(change: Change) -> Iterator[Finding]:
    """Look at the added lines of a file as one text, so that keys over many lines are seen."""
    text = "".join(line for _, line in change.added)
    starts = []
    position = 0
    for _, line in change.added:
        starts.append(position)
        position += len(line)
    gone = "".join(line for _, line in change.removed)
    for secret in leaks.secrets(text):
        index = max((at for at, start in enumerate(starts) if start <= secret.begin), default=0)
        number, _ = change.added[index]
        if text[secret.begin : secret.end] in gone:  # moved, or its line is written otherwise
            continue
        message = f"looks like a secret: {secret.name}, {leaks.hint(text, secret)}"
        yield Finding("secret", leaks.redact(change.path), number, message)
    before = leaks.glued(gone)
    for name, value in leaks.in_pieces(text):
        if value not in before:
            message = f"looks like a secret in pieces: {name}"
            yield Finding("secret", leaks.redact(change.path), 0, message)
    for path in change.paths:
        if leaks.secrets(path):
            yield Finding("secret", leaks.redact(path), 0, "the path looks like a secret")


def _tests(change: Change, failing: set[str]) -> Iterator[Finding]:
    shown = leaks.redact(change.path)
    failed = ", in a file whose tests failed" if set(change.paths) & failing else ""
    if change.old and is_test(change.old) and (change.new is None or not is_test(change.new)):
        yield Finding("test-file-removed", shown, 0, f"a test file is removed{failed}")
        return
    for weakness in weaknesses(change.path, change.added, change.removed):
        message = f"{leaks.redact(weakness.message)}{failed}"
        yield Finding(weakness.rule, shown, weakness.line, message)
