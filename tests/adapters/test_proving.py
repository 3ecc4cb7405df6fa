"""Every verification leaves its artifact, whatever its end, and no secret in it."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from difflib import unified_diff
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bot.config.schema import SandboxConfig
from bot.domain import effects
from bot.domain.errors import Gone, TryLater
from bot.domain.values import Check, CheckKind, CheckState, Command, Review, Sha, Stage
from bot.runtime.proving import Prover
from bot.store.memory import MemoryRuns
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.git import Git
from bot.workspace.sandbox import NoSandbox
from bot.workspace.setup import NOWHERE
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin
from tests.support.pulls import REF

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHANGE = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n"
SECRET = "ghp_" + "a1" * 20


class Ticking:
    """A clock on which each look is a second later."""

    def __init__(self) -> None:
        self.at = AT

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


class Github:
    """The checks of commits and the tip of the base branch, as a test says."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.down = False
        self.at_commit: dict[str, tuple[Check, ...]] = {}

    def remote(self, repo: str, *, write: bool):
        if self.down:
            raise TryLater("GitHub is down")
        return self.origin.remote

    def tip(self, repo: str, branch: str) -> Sha:
        if branch == "gone":
            raise Gone(branch)
        return Sha(branch)

    def at(self, repo: str, commit: Sha) -> tuple[Check, ...]:
        return self.at_commit.get(commit, ())

    def log(self, repo: str, check: Check) -> bytes:
        return f"a.py:1:1: F401 'os' imported but unused ({check.name})\n".encode()


class Keeper(LocalGatekeeper):
    """The gatekeeper, which notes over which trees it was asked for tests: changed ones or not."""

    def __init__(self, sandbox: NoSandbox, root: Path) -> None:
        super().__init__(sandbox, root)
        self.listed: list[str] = []

    def tests(self, tree, commands, stop, ground=NOWHERE, *, ran):
        self.listed.append((tree / "a.txt").read_text().strip())
        return super().tests(tree, commands, stop, ground, ran=ran)


class Scene:
    """A prover over a real repository, and what it left."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "state"
        self.origin = Origin(folder)
        self.head = self.origin.commit({"a.txt": "one\n"})
        self.github = Github(self.origin)
        self.trees = GitTrees(self.root, git=Git(protocols=("file",)))
        sandbox = NoSandbox(SandboxConfig(), f"{Path(sys.executable).parent}:/usr/bin:/bin")
        self.keeper = Keeper(sandbox, self.root)
        ports: Any = SimpleNamespace(
            repos=self.github,
            checks=self.github,
            trees=self.trees,
            runs=MemoryRuns(),
            clock=Ticking(),
            gatekeeper=self.keeper,
        )
        self.prover = Prover(ports, "none")

    def verify(self, *runs: str, diff: str = CHANGE, stop=lambda: False, timeout_s: float = 20):
        commands = tuple(Command(f"c{number}", run, timeout_s) for number, run in enumerate(runs))
        effect = effects.Verify("run", REF, self.head, diff, commands)
        return self.prover.verify(effect, stop)

    def artifacts(self) -> list[dict[str, Any]]:
        folder = self.root / "features/run/gatekeeper"
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.trees.close()


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("grep two a.txt", "every command passed"),
        ("grep one a.txt", "`grep one a.txt` failed (1)"),
        ("echo begun; sleep 300", "`echo begun; sleep 300` timed out"),
    ],
)
def test_what_ran_is_told(scene, run, says):
    outcome = scene.verify(run, timeout_s=1.0)
    (artifact,) = scene.artifacts()
    assert (artifact["reason"], outcome.verification.reason) == (says, says)
    assert artifact["approved"] is outcome.verification.approved is ("passed" in says)
    assert artifact["verification"]["c0"]["command"] == run
    assert (scene.root / outcome.verification.artifact).is_file()
    if "timed out" in says:
        assert artifact["verification"]["c0"]["output"].startswith("begun\n")


UNITTEST = "python -m unittest test_a"
TESTS = """\
import unittest


class A(unittest.TestCase):
    def test_one(self):
        self.assertTrue(1)
"""


def test_a_head_is_listed_once_in_a_run_whatever_is_proved_on_it(scene):
    skips = TESTS.replace("    def", "    @unittest.skip('')\n    def")
    scene.head = scene.origin.commit({"a.txt": "one\n", "test_a.py": TESTS})
    found = [scene.verify(UNITTEST).verification.weakened for _ in range(2)]
    assert (found, scene.keeper.listed) == ([(), ()], ["two", "one", "two"])

    scene.head = scene.origin.commit({"a.txt": "one\n", "test_a.py": skips})
    unskipped = scene.verify(UNITTEST, diff=f"{CHANGE}{patch(skips, TESTS)}")
    assert (unskipped.verification.weakened, len(scene.keeper.listed)) == ((), 5)
    scene.head = scene.origin.commit({"a.txt": "one\n", "test_a.py": TESTS})
    weaker = scene.verify(UNITTEST, diff=f"{CHANGE}{patch(TESTS, skips)}")
    assert weaker.verification.weakened == ("1 test is skipped now: test_a.A.test_one",)


def patch(old: str, new: str) -> str:
    lines = unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), "a/test_a.py", "b/test_a.py"
    )
    return "".join(lines)


def test_a_change_that_does_not_apply_leaves_its_artifact(scene):
    scene.verify("true", diff=CHANGE.replace("-one", "-other"))
    (artifact,) = scene.artifacts()
    assert not artifact["approved"]
    assert artifact["reason"].startswith("the change does not apply: ")
    assert artifact["verification"] == {}


def test_an_outage_leaves_its_artifact(scene):
    scene.github.down = True
    with pytest.raises(TryLater):
        scene.verify("true")
    assert scene.artifacts()[0]["reason"] == "not finished: GitHub is down"


def test_a_verification_that_was_overtaken_leaves_its_artifact(scene):
    outcome = scene.verify("true", "touch never", stop=lambda: True)
    assert isinstance(outcome, effects.Superseded)
    (artifact,) = scene.artifacts()
    assert artifact["reason"].startswith("superseded")
    assert artifact["order"] == []


def test_no_secret_is_kept(scene):
    outcome = scene.verify(f"echo {SECRET}; exit 1")
    text = json.dumps(scene.artifacts()) + msgspec.json.encode(outcome).decode()
    assert SECRET not in text
    assert "echo" in text


def test_what_is_found_later_stands_in_the_same_file(scene):
    proof = scene.verify("true").verification
    review = Review(
        approved=True, skipped=False, reason=f"it holds {SECRET}", mode="gate", engines=("a",)
    )
    later = msgspec.structs.replace(proof, review=review, merge_commit="1" * 40)
    outcome = scene.prover.record(effects.Record(REF, "run", later))
    (artifact,) = scene.artifacts()
    assert (artifact["review"]["approved"], artifact["merge_commit"]) == (True, "1" * 40)
    assert outcome.verification.artifact == proof.artifact
    assert SECRET not in json.dumps(artifact)


def test_a_preflight_runs_where_the_backend_worked(scene, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("two\n")
    commands = (Command("test", "grep one a.txt"),)
    found = scene.prover.preflight("run", tree, CHANGE, commands, lambda: False)
    assert (found.approved, found.stage) == (False, Stage.PREFLIGHT)
    assert found.reason == "`grep one a.txt` failed (1) in the preflight"
    assert scene.artifacts()[0]["stage"] == "preflight"
    assert scene.prover.preflight("run", tree, "", commands, lambda: False) is None
    assert scene.prover.preflight("run", tree, CHANGE, (), lambda: False) is None


def test_a_scratch_branch_is_pushed_and_deleted(scene):
    commit = scene.trees.commit("o/r", scene.head, CHANGE, "Try\n", AT, scene.origin.remote)
    pull = msgspec.structs.replace(REF, repo="o/r")
    branch = "regreen/verify/7-1"
    offered = scene.prover.offer(effects.OfferScratch(pull, branch, commit))
    assert isinstance(offered, effects.Pushed)
    assert scene.origin.git("rev-parse", branch, where=scene.origin.bare).strip() == commit
    drop = effects.DropScratch(pull, branch)
    assert [scene.prover.drop(drop) for _ in range(2)] == [effects.Done()] * 2
    refused = scene.prover.offer(effects.OfferScratch(pull, "main", commit))
    assert isinstance(refused, effects.Refused)


def a_check(name: str, state: CheckState) -> Check:
    return Check(name, CheckKind.JOB, state, id=1)


@pytest.mark.parametrize(("base", "upstream"), [("base", ("docs",)), ("gone", ())])
def test_what_checks_say_on_the_scratch_branch(scene, base, upstream):
    scene.github.at_commit = {
        "tried": (a_check("lint", CheckState.FAILED), a_check("docs", CheckState.FAILED)),
        "base": (a_check("docs", CheckState.FAILED), a_check("lint", CheckState.PASSED)),
    }
    read = scene.prover.read(effects.ReadProof(REF, Sha("tried"), base))
    assert [check.name for check in read.checks] == ["lint", "docs"]
    assert read.upstream == upstream
    own = [name for name in ("lint", "docs") if name not in upstream]
    assert [name for name, _ in read.logs] == own
    assert "F401" in read.logs[0][1]
