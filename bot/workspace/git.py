"""The only caller of git: over bare mirrors of our own, which nothing untrusted can write.

Git's configuration can run programs, so none but ours is ever read: every call names its git
directory, the system's and the user's configuration are switched off, hooks are nowhere, and the
settings travel in the environment. A token does not: git's HTTP helper asks for it when the host
that it was minted for wants it, and reads it from our memory (`credential`).
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bot.domain.errors import BotError, Broken, Gone, NeedsPerson, TryLater
from bot.domain.values import Remote
from bot.workspace import process
from bot.workspace.process import Called

_OLDEST = (2, 31)  # the first that takes settings from its environment
LOCAL_S, LONG_S = 120.0, 900.0
_NOWHERE = Path("/")
SETTINGS: Mapping[str, str] = {
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
    "pack.threads": "1",
    "repack.writeBitmaps": "false",
    "transfer.fsckObjects": "true",
    # Old, harmless oddities that many well-known histories contain.
    **{
        f"{where}fsck.{oddity}": "ignore"
        for where in ("fetch.", "")
        for oddity in ("zeroPaddedFilemode", "badTimezone", "missingSpaceBeforeDate")
    },
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


class Damaged(Broken):
    """Git failed for a reason of its own: is its mirror broken? With a new one it may work."""


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
    (r"unable to resolve reference", Damaged),
    (r"Unable to create '.*\.lock'|cannot lock ref", TryLater),
    (r"fsck error|transport '.*' not allowed", Broken),
)


@dataclass(frozen=True, slots=True)
class Extra:
    """What one call of git has besides: variables, settings, a work tree, the net, more time."""

    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tree: Path | None = None
    remote: Remote | None = None
    timeout_s: float = LOCAL_S


PLAIN = Extra()
Credential = Callable[[Remote], AbstractContextManager[Mapping[str, str]]]


@contextmanager
def credential(remote: Remote) -> Iterator[Mapping[str, str]]:
    """Yield the settings by which git is given the token, and it alone.

    The token lies in memory of ours that has no name, for as long as the block lasts; git's helper
    for this one host reads it there. So it is in no argument, environment or file, and a redirect
    to another host is not answered.
    """
    if not remote.token:
        yield {}
        return
    url = urlsplit(remote.url)
    memory = os.memfd_create("credential")
    try:
        os.write(memory, f"username=x-access-token\npassword={remote.token}\n".encode())
        source = f"/proc/{os.getpid()}/fd/{memory}"
        read = f'!f() {{ test "$1" = get && cat {source}; }}; f'
        yield {f"credential.{url.scheme}://{url.netloc.rpartition('@')[2]}.helper": read}
    finally:
        os.close(memory)


class Git:
    """Calls git. What is given as *settings* or *environment* wins over our own.

    *protocols* are the only ones that a remote's address may have.
    """

    def __init__(
        self,
        *,
        protocols: Sequence[str] = ("http", "https"),
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        credential: Credential = credential,
    ) -> None:
        self._program = shutil.which("git") or "git"
        self._settings = {
            **SETTINGS,
            **{f"protocol.{name}.allow": "always" for name in protocols},
            **(settings or {}),
        }
        self._environment = {
            **_ENVIRONMENT,
            "GIT_ALLOW_PROTOCOL": ":".join(protocols),
            **(environment or {}),
        }
        self._credential = credential

    def call(self, git_dir: Path, *words: str, stdin: bytes = b"", extra: Extra = PLAIN) -> Called:
        """Run git on the git directory *git_dir*, whatever its end."""
        where = [f"--git-dir={git_dir}"]
        where += [f"--work-tree={extra.tree}"] if extra.tree else []
        offer = self._credential(extra.remote) if extra.remote else nullcontext({})
        try:
            with offer as settings:
                return process.call(
                    [self._program, *where, *words],
                    env=self._environment
                    | _configured(self._settings | dict(extra.settings) | dict(settings))
                    | dict(extra.env),
                    timeout_s=LONG_S if extra.remote else extra.timeout_s,
                    stdin=stdin,
                    cwd=extra.tree or _NOWHERE,
                )
        except TimeoutError as error:
            raise TryLater(f"git {words[0]} of {_name(git_dir)} took too long") from error
        except OSError as error:
            if extra.tree and isinstance(error, PermissionError):
                raise Broken("the tree has no rights left for us to enter it") from error
            raise NeedsPerson(f"git cannot be started: {error.strerror}") from error

    def must(self, git_dir: Path, *words: str, stdin: bytes = b"", extra: Extra = PLAIN) -> bytes:
        """Run git and return what it wrote; raise by what it complained of when it failed."""
        called = self.call(git_dir, *words, stdin=stdin, extra=extra)
        if called.exit_code != 0:
            raise meaning(f"git {words[0]} of {_name(git_dir)}", called.stderr)
        return called.stdout


def version() -> str:
    """Return git's version, such as 2.39.5; raise NeedsPerson when it is missing or too old."""
    program = shutil.which("git")
    if program is None:
        raise NeedsPerson("git is not installed")
    called = process.call([program, "--version"], env=_ENVIRONMENT, timeout_s=LOCAL_S)
    found = re.search(rb"(\d+)\.(\d+)[.\d]*", called.stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        told = called.stdout.decode(errors="replace").strip()
        raise NeedsPerson(f"git {'.'.join(map(str, _OLDEST))} or newer is needed, not {told!r}")
    return found[0].decode().rstrip(".")


def meaning(what: str, stderr: str) -> BotError:
    """Return the error that git's complaint amounts to."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    kind = next((kind for pattern, kind in _MEANINGS if re.search(pattern, stderr)), Damaged)
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return kind(f"{what} failed: {' '.join(told[:3])[:400]}")


def _configured(settings: Mapping[str, str]) -> dict[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _name(git_dir: Path) -> str:
    return f"{git_dir.parent.name}/{git_dir.stem}"
