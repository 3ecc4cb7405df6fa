"""Simulated GitHubs for tests: started over a small repository, with conformance watched."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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

Start = Callable[..., Simulator]


@cache
def app_key() -> str:
    """Make one App key for the whole test run: making one takes a while."""
    return new_key()


def make_repo(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """Make a working repository with one commit on `main`."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        (
            *("-c", "user.name=Ann", "-c", "user.email=ann@example.org"),
            *("commit", "--quiet", "--message=Begin"),
        ),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a simulator with the options named; all end with the test."""
    with ExitStack() as stack:

        def begin(files: Mapping[str, str] = FILES, **options: Any) -> Simulator:
            folder = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(simulated(make_repo(folder, files), **options))

        yield begin
