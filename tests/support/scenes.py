"""A stage for stories: the real server, a simulated GitHub and a scripted model, shared by many.

Starting a server costs seconds, so each worker starts a stage once and every story plays on it with
pull requests of its own. A story's title is its test's name; the model tells stories apart by it.
"""

import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bot.domain.runs import Run
from bot.repair.messages import UNPROTECTED
from bot.simulator.faults import Fault
from bot.simulator.model import Call, Reply, ScriptedModel
from bot.simulator.serve import SimOptions, Simulator
from tests.support.conformance import Conformance
from tests.support.running import CONFIG, WEB, Regreen, running
from tests.support.simulated import app_jwt, app_key, client, make_repo, person

REPO, PROVED, TYPO, TRUNK = "acme/widgets", "acme/proved", "acme/typo", "acme/trunk"
API_TOKEN = secrets.token_hex(24)
PEOPLE = {"owner": "admin", "writer": "write", "reader": "read", "stranger": "none"}
WORKFLOW = """\
name: CI
on: [pull_request]
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Lint
        run: ruff check --no-cache .
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Fetch
        run: python -B fetch.py
      - name: Test
        run: python -B -m unittest discover -s tests
"""
AREA = '''\
"""Areas of widgets."""


def area(side: int) -> int:
    """Return the area of a square widget."""
    return side * side
'''
TESTS = """\
import unittest

from widgets.area import area


class AreaTest(unittest.TestCase):
    def test_a_square_of_three(self):
        self.assertEqual(area(3), 9)
"""
FILES: Mapping[str, str] = {
    ".github/workflows/ci.yml": WORKFLOW,
    "README.md": "# Widgets\n",
    "fetch.py": 'print("nothing to fetch")\n',
    "ruff.toml": 'lint.select = ["E", "F"]\n',
    "tests/__init__.py": "",
    "tests/test_area.py": TESTS,
    "widgets/__init__.py": "",
    "widgets/area.py": AREA,
}
OWN_PROOF = """\
[commands]
test = "python -B -m unittest discover -s tests && echo proved by the base branch"
"""
PUSHED_TO = WORKFLOW.replace(
    "on: [pull_request]",
    "on:\n  pull_request:\n  push:\n    branches: [main, 'regreen/verify/**']",
)
UNLINTED = {"widgets/area.py": "import os\n\n\n" + AREA.split("\n\n\n", 1)[1]}
BROKEN = {"widgets/area.py": AREA.replace("side * side", "side + side")}
TIDY = {"README.md": "# Widgets, tidied\n"}
FLAKY = {
    "fetch.py": """\
import os
import socket

if os.environ.get("GITHUB_RUN_ATTEMPT", "1") == "1":
    socket.getaddrinfo("files.invalid", 443)
print("fetched")
"""
}


def edit(old: str, new: str, path: str = "widgets/area.py") -> str:
    """Return a model's answer that replaces *old* by *new*."""
    block = f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE"
    return f"The sides are multiplied.\n\n{path}\n```python\n{block}\n```\n"


def a_try(number: int) -> str:
    """Return an edit of the broken line that leaves the test failing, another for each *number*."""
    return edit("    return side + side", f"    return side + side + {10 + number}")


MENDED = edit("    return side + side", "    return side * side")


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull request, as its readers see it."""

    github: Simulator
    repo: str
    number: int

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"

    @property
    def head(self) -> str:
        """The commit that the pull request is at."""
        return self.github.head(self.repo, self.number)

    def file(self, path: str = "widgets/area.py") -> str | None:
        """Return a file's text at the head."""
        return self.github.files_at(self.repo, self.head, path)

    def bodies(self, *, by: str = "regreen[bot]") -> list[str]:
        """Return what the bot said, comment by comment."""
        found = self.github.comments(self.repo, self.number)
        return [str(one["body"]) for one in found if one["user"]["login"] == by]

    def said(self) -> str:
        """Return all that the bot said."""
        return "\n".join(self.bodies())

    def attempts(self) -> list[str]:
        """Return the first line of each attempt's comment."""
        return [plain(one.splitlines()[0]) for one in self.bodies() if "· attempt" in one]

    def commits(self) -> list[dict[str, Any]]:
        """Return its commits, oldest first."""
        return self.github.commits(self.repo, self.number)

    def card(self, sha: str | None = None) -> dict[str, Any]:
        """Return the check run `regreen` at a commit; there is exactly one."""
        (card,) = self.cards(sha)
        return card

    def cards(self, sha: str | None = None) -> list[dict[str, Any]]:
        """Return our check runs at a commit."""
        found = self.github.checks(self.repo, sha or self.head)
        return [check for check in found if check["name"] == "regreen"]

    def conclusion(self, sha: str | None = None) -> str | None:
        """Return how our check run ended; None when there is none or it is not complete."""
        cards = self.cards(sha)
        return cards[0]["conclusion"] if cards else None

    def reactions(self, comment: int) -> list[str]:
        """Return how the bot reacted to a comment."""
        shown = next(c for c in self.github.comments(self.repo, self.number) if c["id"] == comment)
        return [
            k
            for k, n in shown["reactions"].items()
            if isinstance(n, int) and n and k != "total_count"
        ]

    def says(self, body: str, *, by: str = "owner") -> int:
        """Have a person comment."""
        return self.github.comment(self.repo, self.number, body, by=by)

    def says_as_the_app(self, body: str) -> None:
        """Have the App itself comment, as a server of an earlier life did."""
        with client(self.github, app_jwt(self.github)) as app:
            number = app.get(f"/repos/{self.repo}/installation").json()["id"]
            made = app.post(f"/app/installations/{number}/access_tokens", json={})
        with client(self.github, made.json()["token"]) as app:
            path = f"/repos/{self.repo}/issues/{self.number}/comments"
            assert app.post(path, json={"body": body}).is_success

    def fails(self, check: str, log: str, *, rerun: str = "failure") -> None:
        """Have a job of CI fail with *log*; a re-run of it ends as *rerun* says."""
        self.github.fail_check(self.repo, self.number, check, log, rerun=rerun)

    def run_again(self, check: str) -> None:
        """Have a person run a job of CI again."""
        run_again(self.github, self.repo, self.head, check)

    def push(self, files: Mapping[str, str | None]) -> str:
        """Have a person push."""
        return self.github.push_files(self.repo, self.number, files)

    def press(self, button: str, *, by: str = "owner") -> None:
        """Have a person press a button of our check run."""
        self.github.press(self.repo, self.number, button, by=by)

    def close(self) -> None:
        """Have a person close it."""
        self.github.close(self.repo, self.number)


def run_again(github: Simulator, repo: str, sha: str, check: str) -> None:
    """Have a person run a job of CI at a commit again."""
    (job,) = [one["id"] for one in github.checks(repo, sha) if one["name"] == check]
    with person(github) as owner:
        assert owner.post(f"/repos/{repo}/actions/jobs/{job}/rerun").is_success


@dataclass
class Stage:
    """One running server with its GitHub and model; `stories` counts those told."""

    github: Simulator
    model: ScriptedModel
    server: Regreen
    conformance: Conformance
    opened: list[Pull] = field(default_factory=list)


@dataclass
class Github:
    """GitHub as one story sees it."""

    stage: Stage
    story: str
    opened: list[Pull] = field(default_factory=list)

    @property
    def sim(self) -> Simulator:
        """The whole simulated GitHub."""
        return self.stage.github

    def open_pull(
        self,
        files: Mapping[str, str | None],
        *,
        repo: str = REPO,
        title: str = "",
        **more: Any,
    ) -> Pull:
        """Open a pull request that changes *files*."""
        number = self.sim.open_pull(repo, files, title=title or self.story, **more)
        pull = Pull(self.sim, repo, number)
        self.opened.append(pull)
        return pull

    def fault(self, method: str, path: str, **more: Any) -> None:
        """Plan trouble."""
        self.sim.fault(Fault(method, path, **more))


@dataclass
class Model:
    """The scripted model as one story sees it."""

    stage: Stage
    story: str

    def answers(self, *replies: Reply | str, title: str = "") -> None:
        """Say what the primary model answers, one call after another."""
        self.stage.model.will_answer("scripted-primary", *replies, key=title or self.story)

    def fallback_answers(self, *replies: Reply | str, title: str = "") -> None:
        """Say what the fallback model answers."""
        self.stage.model.will_answer("scripted-fallback", *replies, key=title or self.story)

    def will_answer(self, model: str, *replies: Reply | str) -> None:
        """Say what a model of that name answers."""
        self.stage.model.will_answer(model, *replies, key=self.story)

    @property
    def calls(self) -> list[Call]:
        """The calls about this story's pull requests, whatever was answered."""
        mine = re.compile(re.escape(self.story) + r"(?!\w)")
        return [call for call in self.stage.model.calls if mine.search(call.prompt)]

    @property
    def asked(self) -> list[str]:
        """Which models were asked, in order."""
        return [call.model for call in self.calls]


@dataclass
class Bot:
    """The server as one story sees it."""

    stage: Stage
    _skip: int

    @property
    def server(self) -> Regreen:
        """The whole server."""
        return self.stage.server

    @property
    def log(self) -> str:
        """What was logged since the story began."""
        return self.server.log[self._skip :]

    def runs(self, pull: Pull) -> list[Run]:
        """Return the stored runs of a pull request, oldest first."""
        rows = self.server.rows(
            f"SELECT record FROM runs WHERE repo = '{pull.repo}' AND number = {pull.number}"
            " ORDER BY started_at"
        )
        return [msgspec.json.decode(row.record, type=Run) for row in rows]

    def run(self, pull: Pull) -> Run:
        """Return the newest run of a pull request."""
        return self.runs(pull)[-1]

    def api(self, path: str, body: object = None, *, token: str = API_TOKEN) -> httpx.Response:
        """Call the API: GET without a *body*, else POST; bytes are sent as they are."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        url, headers = f"{self.server.url}{path}", {"Authorization": f"Bearer {token}"}
        if body is None:
            return WEB.get(url, headers=headers)
        return WEB.post(url, headers=headers, content=content)

    def metric(self, name: str) -> float:
        """Return what `/metrics` shows now; *name* has its labels, 0 for one that is not there."""
        page = WEB.get(f"{self.server.url}/metrics").text
        lines = [line for line in page.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def settle(self, timeout_s: float = 120.0) -> None:
        """Wait until nothing is under way here or at GitHub."""
        self.server.settle(timeout_s)

    def wait_for(self, claim: Any, what: str, timeout_s: float = 20.0) -> None:
        """Wait until *claim* holds."""
        self.server.wait_for(claim, timeout_s, what)


def plain(text: str) -> str:
    """Return *text* without what differs from run to run: ids, commits, times, prices."""
    for pattern, name in (
        (r"Artifact: `[^`]+`", "Artifact: `ARTIFACT`"),
        (r"(?<=trigger=pr-)\d+-[0-9a-f]{12}", "N-HEAD"),
        (r"(?:(?<=[Rr]un `)|(?<=[Rr]un )|(?<=run=)|(?<=gate=)|(?<=-Run: ))[0-9a-f]{16}", "RUN"),
        (r"\b[0-9a-f]{16}(?=\.(?:plan|delta)\d|-\d\b)", "RUN"),
        (r"\b[0-9a-f]{40}\b", "SHA"),
        (r"\b(?=[a-f]*\d)[0-9a-f]{10}\b|\b(?=[a-f]*\d)[0-9a-f]{12}\b", "SHORT"),
        (r"index [0-9a-f]{7,40}\.\.[0-9a-f]{7,40}", "index OLD..NEW"),
        (r"\d\d:\d\d:\d\d", "HH:MM:SS"),
        (r"\d{4}-\d\d-\d\d HH:MM:SS|\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN"),
        (r"(?<=last on )\d{4}-\d\d-\d\d", "DAY"),
        (r"\b\d+\.\d+ ?s\b", "T s"),
        (r"(?<=\*\*Time:\*\* )\d+ s", "T s"),
        (r"\b\d+ tokens in, \d+ out", "N tokens in, N out"),
        (r"\((?:bubblewrap|none)\)", "(sandbox)"),
        (r"\b\d+% sure", "N% sure"),
        (r"(?<=reply to=)\d+", "N"),
        (r"acme/(\w+)#\d+", r"acme/\1#N"),
    ):
        text = re.sub(pattern, name, text)
    return text.replace(UNPROTECTED, "")  # where there is no bubblewrap


@contextmanager
def stage(config: str = CONFIG, database_url: str = "", **extra: str) -> Iterator[Stage]:
    """Start GitHub, model and server; *extra* is further environment of the server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stage-")))
        repos = {
            REPO: make_repo(folder / "widgets", FILES),
            PROVED: make_repo(folder / "proved", {**FILES, ".github/regreen.toml": OWN_PROOF}),
            TYPO: make_repo(
                folder / "typo", {**FILES, ".github/regreen.toml": "[commands]\ntest = 7\n"}
            ),
            TRUNK: make_repo(folder / "trunk", {**FILES, ".github/workflows/ci.yml": PUSHED_TO}),
        }
        conformance = Conformance()
        github = stack.enter_context(
            Simulator(
                SimOptions(repos=repos, people=PEOPLE, private_key=app_key()),
                wrap=conformance.wrap,
                on_delivery=conformance.delivery,
            )
        )
        model = stack.enter_context(ScriptedModel())
        extra = {name: value.replace("{model}", model.url) for name, value in extra.items()}
        server = stack.enter_context(
            running(
                folder / "server",
                github,
                model=model,
                config=config,
                database_url=database_url,
                extra={"REGREEN_API_TOKEN": API_TOKEN, **extra},
            )
        )
        yield Stage(github, model, server, conformance)
