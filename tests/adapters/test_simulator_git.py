"""The simulated GitHub's git, used by a real git over loopback."""

import base64
import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot.simulator.git import ZERO, Access, RefUpdate, git_app, pusher
from bot.simulator.loopback import served

WRITER = "token-that-writes"
READER = "token-that-reads"


def authorize(repo: str, token: str | None, write: bool) -> Access:  # noqa: FBT001  # the shape that git_app calls
    if token is None:
        return Access.UNAUTHORIZED
    if repo != "o/r":
        return Access.NOT_FOUND
    if token == READER and write:
        return Access.FORBIDDEN
    return Access.GRANTED if token in {READER, WRITER} else Access.UNAUTHORIZED


class Host:
    """A served folder with one repository, and what its callbacks saw."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pushes: list[tuple[str, list[RefUpdate], str | None]] = []
        self.reason: str | None = None
        self.url = ""

    def pushed(self, repo: str, updates: list[RefUpdate]) -> None:
        self.pushes.append((repo, updates, pusher.get()))

    def refuse(self, repo: str, updates: list[RefUpdate]) -> str | None:
        return self.reason

    def at(self, token: str, repo: str = "o/r") -> str:
        return f"{self.url.replace('//', f'//x-access-token:{token}@')}/{repo}.git"

    def ref(self, name: str = "refs/heads/main") -> str:
        git_dir = f"--git-dir={self.root}/o/r.git"
        return git(self.root, git_dir, "rev-parse", "-q", "--verify", name, fails=True).strip()


def git(where: Path, *words: str, fails: bool = False, protocol: str = "2") -> str:
    environment = {
        "PATH": os.defpath,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "T",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "T",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }
    command = ["git", "-c", f"protocol.version={protocol}", *words]
    ended = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert fails or ended.returncode == 0, ended.stderr
    return ended.stdout + (ended.stderr if ended.returncode else "")


def commit(clone: Path, name: str, text: str) -> str:
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    (clone / name).write_text(text)
    git(clone, "add", ".")
    git(clone, "commit", "-qm", f"Write {name}")
    return git(clone, "rev-parse", "HEAD").strip()


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    host = Host(tmp_path / "repos")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(host.root / "o" / "r.git"))
    with served(git_app(host.root, authorize, host.pushed, host.refuse)) as host.url:
        yield host


@pytest.fixture
def clone(host: Host, tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", host.at(WRITER), str(clone))
    git(clone, "checkout", "-q", "-B", "main")
    commit(clone, "a.txt", "one\n")
    git(clone, "push", "-q", "origin", "main")
    host.pushes.clear()
    return clone


@pytest.mark.parametrize("protocol", ["0", "2"])
def test_what_was_pushed_is_cloned(host, clone, tmp_path, protocol):
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", host.at(READER), str(copy), protocol=protocol)
    assert (copy / "a.txt").read_text() == "one\n"


def test_the_refs_that_changed_are_told_with_the_token(host, clone):
    old = host.ref()
    new = commit(clone, "a.txt", "two\n")
    git(clone, "push", "-q", "origin", "main", "main:refs/heads/other")
    moved = [RefUpdate("refs/heads/main", old, new), RefUpdate("refs/heads/other", ZERO, new)]
    assert host.pushes == [("o/r", moved, WRITER)]


def test_a_push_that_changes_nothing_is_not_told(host, clone):
    git(clone, "push", "-q", "origin", "main")
    assert host.pushes == []


def test_a_deleted_branch_is_told(host, clone):
    sha = host.ref()
    git(clone, "push", "-q", "origin", "main:refs/heads/gone")
    git(clone, "push", "-q", "origin", ":refs/heads/gone")
    assert host.pushes[-1][1] == [RefUpdate("refs/heads/gone", sha, ZERO)]


def test_a_failed_lease_moves_nothing(host, clone):
    before = host.ref()
    commit(clone, "a.txt", "two\n")
    lease = f"--force-with-lease=refs/heads/main:{'1' * 40}"
    said = git(clone, "push", lease, "origin", "main", fails=True)
    assert "stale info" in said
    assert (host.ref(), host.pushes) == (before, [])


def test_a_refused_push_is_undone_and_says_why(host, clone):
    before = host.ref()
    host.reason = "refusing to allow a GitHub App to create or update workflow `ci.yml`"
    commit(clone, ".github/workflows/ci.yml", "on: push\n")
    said = git(clone, "push", "origin", "main", "main:refs/heads/new", fails=True)
    assert "[remote rejected]" in said
    assert "refusing to allow a GitHub App" in said
    assert (host.ref(), host.ref("refs/heads/new"), host.pushes) == (before, "", [])


def test_a_commit_that_no_branch_holds_is_fetched_by_its_sha(host, clone, tmp_path):
    lost = commit(clone, "a.txt", "two\n")
    git(clone, "push", "-q", "origin", "main")
    git(clone, "push", "-q", "--force", "origin", "main~1:main")
    git(tmp_path, "init", "-q", "fresh")
    git(tmp_path / "fresh", "fetch", "-q", "--depth=1", host.at(READER), lost)
    assert git(tmp_path / "fresh", "show", "FETCH_HEAD:a.txt") == "two\n"


def test_refs_of_pull_requests_cannot_be_pushed(host, clone):
    said = git(clone, "push", "origin", "main:refs/pull/1/head", fails=True)
    assert "deny updating a hidden ref" in said


def test_a_large_push_arrives_whole(host, clone):
    new = commit(clone, "big.bin", "".join(f"{n * 7919}\n" for n in range(400_000)))
    git(clone, "push", "-q", "origin", "main")
    assert host.ref() == new


@pytest.mark.parametrize(
    ("token", "repo", "service", "status"),
    [
        pytest.param(None, "o/r", "git-upload-pack", 401, id="no token"),
        pytest.param("wrong", "o/r", "git-upload-pack", 401, id="unknown token"),
        pytest.param(READER, "o/r", "git-receive-pack", 403, id="may not write"),
        pytest.param(WRITER, "o/none", "git-upload-pack", 404, id="no repository"),
        pytest.param(WRITER, "../r", "git-upload-pack", 404, id="traversal"),
        pytest.param(WRITER, "o/r", "git-upload-archive", 403, id="other service"),
        pytest.param(READER, "o/r", "git-upload-pack", 200, id="may read"),
    ],
)
def test_who_may(host, token, repo, service, status):
    auth = ("x-access-token", token) if token else None
    url = f"{host.url}/{repo.replace('..', '%2e%2e')}.git/info/refs"
    reply = httpx.get(url, params={"service": service}, auth=auth)
    assert reply.status_code == status
    assert ("www-authenticate" in reply.headers) == (status == 401)


def test_a_compressed_request_is_read(host, clone):
    want = f"0032want {host.ref()}\n00000009done\n".encode()
    basic = base64.b64encode(f"x:{READER}".encode()).decode()
    headers = {
        "Content-Encoding": "gzip",
        "Authorization": f"Basic {basic}",
        "Content-Type": "application/x-git-upload-pack-request",
    }
    url = f"{host.url}/o/r.git/git-upload-pack"
    reply = httpx.post(url, content=gzip.compress(want), headers=headers)
    assert b"PACK" in reply.content
