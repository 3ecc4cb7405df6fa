"""The only caller of git: one bare mirror per repository, which nothing untrusted can write.

Git's configuration can run programs, so none but ours is ever read: every call names its git
directory, the system's and the user's configuration are switched off, hooks are nowhere, and the
settings travel in the environment. So does the token, as a header of that one process; it is never
an argument and never on disk. Locks of a process that was killed are removed under our own lock.
"""

import base64
import fcntl
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from bot.domain.errors import BotError, Broken, Gone, NeedsPerson, TryLater
from bot.domain.values import Remote, Sha
from bot.workspace import process
from bot.workspace.process import Called

_OLDEST = (2, 31)  # the first that takes settings from its environment
_LOCAL_S = 120.0
_REMOTE_S = 900.0
_REPO = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STALE = ("refs/regreen/*.lock", "packed-refs.lock", "HEAD.lock", "objects/pack/tmp_*")
_SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.autocrlf": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "commit.gpgSign": "false",
    "diff.renames": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.fsckObjects": "true",
    # Old, harmless oddities that many well-known histories contain.
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.allow": "never",
}
_ENVIRONMENT: Mapping[str, str] = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}
# What git says on stderr, and what that asks of us; the first that fits counts.
_MEANINGS: Sequence[tuple[str, type[BotError]]] = (
    (r"No space left on device|Disk quota exceeded", TryLater),
    (r"not our ref|couldn't find remote ref|does not appear to be a git repository", Gone),
    (r"repository '.*' not found|Repository not found|returned error: (?:404|410)", Gone),
    # The token was minted a moment ago: it is not known everywhere yet, or was just revoked.
    (r"Authentication failed|could not read (?:Username|Password)|returned error: 401", TryLater),
    (r"returned error: 403|Permission to .* denied|access .* not granted", NeedsPerson),
    (r"returned error: (?:408|429|5\d\d)|Could not resolve host|Failed to connect", TryLater),
    (r"Connection (?:refused|reset|timed out)|timed out|early EOF|unexpected disconnect", TryLater),
    (
        r"RPC failed|remote end hung up|Empty reply|Operation too slow|SSL|Couldn't connect",
        TryLater,
    ),
    (r"Unable to create '.*\.lock'|cannot lock ref", TryLater),
)


@dataclass(frozen=True, slots=True)
class Extra:
    """What one call of git has besides: variables, settings, a work tree, and the net."""

    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tree: Path | None = None
    remote: Remote | None = None


_PLAIN = Extra()


class Git:
    """Calls git for the mirrors under `root/mirrors`."""

    def __init__(
        self, root: Path, *, protocols: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._mirrors = root / "mirrors"
        self._program = shutil.which("git") or "git"
        self._settings = dict(_SETTINGS) | {
            f"protocol.{name}.allow": "always" for name in protocols
        }
        self._environment = {
            **_ENVIRONMENT,
            **environment,
            "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        }
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def mirror(self, repo: str) -> Path:
        """Return the mirror's path, which need not exist yet."""
        if not _REPO.fullmatch(repo) or any(part.strip(".") == "" for part in repo.split("/")):
            raise Broken(f"{repo!r} is not a repository's name")
        return self._mirrors / f"{repo}.git"

    def call(self, repo: str, *words: str, stdin: bytes = b"", extra: Extra = _PLAIN) -> Called:
        """Run git on the mirror of *repo*, whatever its end."""
        where = [f"--git-dir={self.mirror(repo)}"]
        where += [f"--work-tree={extra.tree}"] if extra.tree else []
        try:
            return process.call(
                [self._program, *where, *words],
                env=self._environment | self._configured(extra) | dict(extra.env),
                timeout_s=_REMOTE_S if extra.remote else _LOCAL_S,
                stdin=stdin,
                cwd=extra.tree,
            )
        except TimeoutError as error:
            raise TryLater(f"git {words[0]} of {repo} took too long") from error
        except OSError as error:
            raise NeedsPerson(f"git cannot be started: {error.strerror}") from error

    def must(self, repo: str, *words: str, stdin: bytes = b"", extra: Extra = _PLAIN) -> bytes:
        """Run git and return what it wrote; raise by what it complained of when it failed."""
        called = self.call(repo, *words, stdin=stdin, extra=extra)
        if called.exit_code != 0:
            raise meaning(f"git {words[0]} of {repo}", called.stderr)
        return called.stdout

    def has(self, repo: str, commit: str) -> bool:
        """Tell whether the mirror holds this commit."""
        if not self.mirror(repo).is_dir():
            return False
        return self.call(repo, "cat-file", "-e", f"{commit}^{{commit}}").exit_code == 0

    def fetch(self, repo: str, commit: Sha, remote: Remote) -> None:
        """Have exactly this commit and its history in the mirror."""
        if not _SHA.fullmatch(commit):
            raise Broken(f"{commit!r} is not a commit's full name")
        if self.has(repo, commit):
            return
        with self._locked(repo):
            self._ensure(repo)
            if self.has(repo, commit):  # another thread was quicker
                return
            self.must(
                repo,
                *("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", "--"),
                remote.url,
                f"+{commit}:refs/regreen/{commit}",
                extra=Extra(remote=remote),
            )

    def keep(self, repo: str, commit: str) -> None:
        """Give a commit of our own a name in the mirror."""
        with self._locked(repo):
            self.must(repo, "update-ref", f"refs/regreen/{commit}", commit)

    def _configured(self, extra: Extra) -> dict[str, str]:
        settings = self._settings | dict(extra.settings)
        if extra.remote is not None and extra.remote.token:
            pair = f"x-access-token:{extra.remote.token}"
            basic = base64.b64encode(pair.encode()).decode()
            settings["http.extraHeader"] = f"Authorization: Basic {basic}"
        variables = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (name, value) in enumerate(settings.items()):
            variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return variables

    def _ensure(self, repo: str) -> None:
        """Make the mirror when it is missing: whole or not at all."""
        mirror = self.mirror(repo)
        if mirror.is_dir():
            for pattern in _STALE:
                for lock in mirror.glob(pattern):
                    lock.unlink(missing_ok=True)
            return
        made = mirror.with_name(f".{mirror.name}.{token_hex(4)}")
        command = [self._program, "init", "--quiet", "--bare", "--template=", str(made)]
        called = process.call(
            command, env=self._environment | self._configured(_PLAIN), timeout_s=_LOCAL_S
        )
        if called.exit_code != 0:
            raise meaning(f"git init of {repo}", called.stderr)
        made.rename(mirror)

    @contextmanager
    def _locked(self, repo: str) -> Iterator[None]:
        """Be alone with the mirror, among threads and among processes."""
        mirror = self.mirror(repo)
        with self._locks[repo], _disk(f"the mirror of {repo}"):
            mirror.parent.mkdir(parents=True, exist_ok=True)
            with mirror.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield


def version() -> str:
    """Return git's version, such as 2.39.5; raise NeedsPerson when it is missing or too old."""
    program = shutil.which("git")
    if program is None:
        raise NeedsPerson("git is not installed")
    called = process.call([program, "--version"], env=_ENVIRONMENT, timeout_s=_LOCAL_S)
    found = re.search(rb"(\d+)\.(\d+)[.\d]*", called.stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        told = called.stdout.decode(errors="replace").strip()
        raise NeedsPerson(f"git {'.'.join(map(str, _OLDEST))} or newer is needed, not {told!r}")
    return found[0].decode().rstrip(".")


@contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TryLater(f"{what} cannot be written: {error.strerror}") from error


def meaning(what: str, stderr: str) -> BotError:
    """Return the error that git's complaint amounts to."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    kind = next((kind for pattern, kind in _MEANINGS if re.search(pattern, stderr)), Broken)
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return kind(f"{what} failed: {' '.join(told[:3])[:400]}")
