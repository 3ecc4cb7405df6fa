"""Simulated GitHubs for tests: started over a small repository, with conformance watched."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from bot.simulator.auth import new_key
from bot.simulator.serve import SimOptions, Simulator
from tests.support.conformance import Conformance

REPO = "acme/widgets"
WORKFLOW = """\
name: CI
on:
  pull_request:
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Run tests
        run: sh test.sh
"""
FILES = {
    ".github/workflows/ci.yml": WORKFLOW,
    "README.md": "# Widgets\n",
    "src/widget.py": "SIZE = 1\n",
    "test.sh": "test ! -e broken || { echo 'broken is there'; exit 1; }\n",
}


@cache
def app_key() -> str:
    """Make one App key for the whole test run: making one takes a while."""
    return new_key()


def make_repo(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """Make a working repository with one commit on `main`."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Begin")
    return folder


def git(folder: Path, *words: str) -> str:
    """Run git as Ann, whatever this machine's own settings say; return what it prints."""
    ann = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(
        ["git", *ann, *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        },
    )
    return done.stdout.strip()


@contextmanager
def simulated(source: Path, **options: Any) -> Iterator[Simulator]:
    """Serve *source* as `acme/widgets`, and fail at the end if GitHub's description was broken."""
    conformance = Conformance()
    chosen = {"repos": {REPO: source}, "private_key": app_key(), **options}
    with Simulator(
        SimOptions(**chosen), wrap=conformance.wrap, on_delivery=conformance.delivery
    ) as simulator:
        yield simulator
    conformance.check()


def simulated_github(files: Mapping[str, str] = FILES, **options: Any) -> Any:
    """Make a fixture that serves *files* as `acme/widgets`: `github = simulated_github()`."""

    @pytest.fixture
    def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
        source = make_repo(tmp_path_factory.mktemp("source"), files)
        with simulated(source, **options) as simulator:
            yield simulator

    return github


def app_jwt(simulator: Simulator, *, issued_s: int = -60, life_s: int = 300, **claims: Any) -> str:
    """Sign a JWT as the App, issued *issued_s* from now."""
    issued = int(time.time()) + issued_s
    body = {"iat": issued, "exp": issued + life_s, "iss": str(simulator.app_id), **claims}
    return jwt.encode(body, simulator.private_key, algorithm="RS256")


def client(simulator: Simulator, token: str | None = None) -> httpx.Client:
    """Give a client of the REST API that shows *token*."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=simulator.url, headers=headers, timeout=20)


def installation_token(simulator: Simulator, **narrowed: Any) -> str:
    """Let the App make itself an installation token."""
    with client(simulator, app_jwt(simulator)) as app:
        number = app.get(f"/repos/{REPO}/installation").json()["id"]
        made = app.post(f"/app/installations/{number}/access_tokens", json=narrowed)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


@contextmanager
def the_app(simulator: Simulator, **narrowed: Any) -> Iterator[httpx.Client]:
    """Give a client that acts as the App's installation."""
    with client(simulator, installation_token(simulator, **narrowed)) as opened:
        yield opened


@contextmanager
def person(simulator: Simulator, login: str = "owner") -> Iterator[httpx.Client]:
    """Give a client that acts as a person."""
    with client(simulator, simulator.tokens[login]) as opened:
        yield opened
