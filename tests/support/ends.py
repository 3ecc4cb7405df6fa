"""What a repair came to, in a form that two runs of one story can be compared by.

Two runs differ in commit names, run ids, times and durations; everything else must be the same.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import unified_diff
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bot.simulator.model import ScriptedModel
from bot.simulator.serve import SimOptions, Simulator
from bot.simulator.stories import REPO, SCENES, make_repository
from tests.support.running import CONFIG, Regreen, running
from tests.support.simulated import app_key, git

WRONG = SCENES[1].primary[0].replace("net * (1 + tax)", "net * (2 + tax)")
BACKEND = SCENES[1].primary[0]
SKIPPED = """\
The test may be wrong.

tests/test_shop.py
```python
<<<<<<< SEARCH
        self.assertEqual(gross(100, 0.19), 119.0)
=======
        self.skipTest(f"{gross(100, 0.19)} may be right")
>>>>>>> REPLACE
```
"""
PASSING = re.compile(
    r"\b\d+(\.\d+)? ?(ms|s|min)\b|\b\d\d:\d\d:\d\d\b|Artifact: `[^`]*`|\d+ tokens in"
)


PLANNING = """\
[backends.second]
backend_type = "openai"
model = "scripted-primary"
base_url = "{model}"
api_key = "not-a-key"

[agent_chains]
both = ["primary", "second"]
one = ["primary"]

[agent_drains]
planning = "both"
fix = "one"
analysis = "one"
"""


@dataclass(frozen=True)
class Story:
    """A pull request and what the model answers about it.

    `word` is what the owner says once a change waits at its gate. With `pushes` the workflows run
    for every branch that is pushed.
    """

    files: tuple[tuple[str, str], ...]
    title: str
    answers: tuple[tuple[str, str], ...] = ()  # a text of the prompt, the answer
    word: str = ""
    config: str = CONFIG
    pushes: bool = False

    def tell(self, github: Simulator, model: ScriptedModel) -> int:
        for key, answer in self.answers:
            model.will_answer("scripted-primary", answer, key=key)
        return github.open_pull(REPO, dict(self.files), title=self.title, branch="topic")

    def ended(self, github: Simulator, server: Regreen, number: int) -> bool:
        """Say whether it is green; before that the owner answers, once."""
        if self.word and len(github.commits(REPO, number)) == 1:
            said = any(one["body"] == self.word for one in github.comments(REPO, number))
            if not said and server.rows("SELECT 1 FROM approvals WHERE state = 'pending'"):
                github.comment(REPO, number, self.word)
            return False
        return ended_green(github, server, number)


LINT = Story(tuple(SCENES[0].files.items()), SCENES[0].title)
MODEL = Story(
    tuple(SCENES[1].files.items()),
    SCENES[1].title,
    (("", WRONG), ("Attempt 1 by primary proposed", BACKEND)),
)
HELD = Story(
    MODEL.files,
    MODEL.title,
    (
        ("", SKIPPED),
        ("Now write the plan.", "1. Skip the test."),
        ("Now write the one plan.", "1. Skip the test, it may be wrong."),
        ("Now judge the change", "VERDICT: yes\nIt skips the test."),
    ),
    word="/regreen approve",
    config=CONFIG.replace("[backend_for_failed_pr]", f"{PLANNING}\n[backend_for_failed_pr]"),
)


TRIED = Story(
    LINT.files,
    LINT.title,
    config=CONFIG.replace(
        "[regreen]", '[gatekeeper]\nverify = "both"\nci_look_s = 0.5\n\n[regreen]'
    ),
    pushes=True,
)


@dataclass(frozen=True)
class End:
    """The end state at GitHub and in the store."""

    trees: tuple[str, ...]
    messages: tuple[str, ...]
    comments: tuple[str, ...]
    checks: tuple[tuple[int, str, str, str], ...]  # which commit, name, conclusion, title
    reruns: int
    runs: tuple[tuple[str, str], ...]
    gates: tuple[str, ...]
    audit: tuple[str, ...]
    branches: tuple[str, ...]


def differences(end: End, expected: End) -> list[str]:
    """Say in lines of a diff what is not as expected."""
    wanted, found = (
        [line for field in fields(End) for line in lines_of(field.name, getattr(one, field.name))]
        for one in (expected, end)
    )
    return list(unified_diff(wanted, found, "expected", "found", lineterm="", n=2))


def lines_of(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [f"{name}: {line}" for one in values for line in str(one).splitlines()]


def end_of(github: Simulator, server: Regreen, number: int) -> End:
    """Read what came of a pull request, every check run and comment of it, also hidden ones."""
    commits = github.commits(REPO, number)
    shas = [commit["sha"] for commit in commits]
    with github.hub.state.lock:
        state = github.hub.state
        path = state.repos[REPO].git.path
        checks = [
            (shas.index(check.suite.head_sha), check.name, str(check.conclusion), str(check.title))
            for check in state.checks.values()
            if check.suite.head_sha in shas
        ]
        reruns = sum(run.attempt - 1 for run in state.runs.values())
        branches = sorted(state.repos[REPO].git.refs())
    rows = server.rows("SELECT id, state, record FROM runs ORDER BY started_at, id")
    names = {row.id: f"<run {at}>" for at, row in enumerate(rows)}
    names |= {sha[:long]: f"<sha {at}>" for at, sha in enumerate(shas) for long in (40, 12, 10)}

    def plain(text: str) -> str:
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, names[name])
        return PASSING.sub("<varies>", text)

    return End(
        trees=tuple(git(Path(path), "rev-parse", f"{sha}^{{tree}}") for sha in shas),
        messages=tuple(plain(commit["message"]) for commit in commits),
        comments=tuple(plain(comment["body"]) for comment in github.comments(REPO, number)),
        checks=tuple(sorted((at, name, how, plain(title)) for at, name, how, title in checks)),
        reruns=reruns,
        runs=tuple((row.state, names[row.id]) for row in rows),
        gates=tuple(
            f"{row.state} by {row.answered_by}"
            for row in server.rows("SELECT state, answered_by FROM approvals ORDER BY asked_at")
        ),
        audit=tuple(row.kind for row in server.rows("SELECT kind FROM audit ORDER BY id")),
        branches=tuple(branches),
    )


def ended_green(github: Simulator, server: Regreen, number: int) -> bool:
    """Say whether the run is stored as green; fail at once when it ended in any other way."""
    ended = {
        check["conclusion"]
        for check in github.checks(REPO, github.head(REPO, number))
        if check["name"] == "regreen"
    }
    told = "\n\n".join(comment["body"] for comment in github.comments(REPO, number))
    assert "action_required" not in ended, f"it asks a person:\n{told}\n{server.log[-6000:]}"
    return "success" in ended and bool(server.rows("SELECT 1 FROM runs WHERE state = 'green'"))


class Owner:
    """The App's owner, who has GitHub send again what met no server."""

    def __init__(self, github: Simulator) -> None:
        self._github = github
        self._seen: set[int] = set()

    def redeliver(self) -> None:
        """Send again, once, each delivery whose last try was lost."""
        last = {attempt.guid: attempt for attempt in self._github.deliveries()}
        for attempt in last.values():
            if not attempt.status_code and attempt.id not in self._seen:
                self._seen.add(attempt.id)
                self._github.redeliver(attempt.id)


@contextmanager
def a_shop(folder: Path, *, pushes: bool = False, **options: Any) -> Iterator[Simulator]:
    """Serve the demo's shop, for one test."""
    make_repository(folder / "shop")
    if pushes:
        workflow = folder / "shop/.github/workflows/ci.yml"
        workflow.write_text(workflow.read_text().replace("[pull_request]", "[pull_request, push]"))
        git(folder / "shop", "-c", "user.name=D", "-c", "user.email=d@d", "commit", "-qam", "ci")
    with Simulator(
        SimOptions(**{"repos": {REPO: folder / "shop"}, "private_key": app_key(), **options})
    ) as github:
        yield github


@cache
def undisturbed(story: Story) -> End:
    """Play a story on a server that nothing disturbs, once in this process; return its end."""
    with (
        TemporaryDirectory() as folder,
        a_shop(Path(folder), pushes=story.pushes) as github,
        ScriptedModel() as model,
        running(Path(folder, "server"), github, model=model, config=story.config) as server,
    ):
        number = story.tell(github, model)
        server.wait_for(lambda: story.ended(github, server, number), 120, "green")
        server.settle()
        return end_of(github, server, number)
