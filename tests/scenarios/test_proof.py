"""A change is reviewed, and proved by the repository's own checks before its branch moves."""

import json
import subprocess
from typing import Any

import pytest

from bot.domain.runs import Result, RunState
from tests.support.scenes import AREA, BROKEN, MENDED, TRUNK, edit, plain

pytestmark = pytest.mark.parametrize("the_stage", ["proof"], indirect=True)

YES = "VERDICT: yes\nIt multiplies the sides."
NO = "VERDICT: no\n- [high] widgets/area.py: it answers the failing case by itself"
CHEAT = edit("    return side + side", "    return 9 if side == 3 else side + side")
# What the sandbox does not see: here CI looks at more than the base branch's commands.
LINT_BREAKER = edit(
    '"""Areas of widgets."""\n\n\ndef area(side: int) -> int:\n'
    '    """Return the area of a square widget."""\n    return side + side',
    '"""Areas of widgets."""\n\nimport os\n\n\ndef area(side: int) -> int:\n'
    '    """Return the area of a square widget."""\n    return side * side',
)


def scratch_branches(github, repo: str) -> list[str]:
    refs = github.sim.hub.state.repos[repo].git.refs()
    return [ref for ref in refs if "regreen/verify" in ref]


@pytest.fixture
def undeletable(github):
    """Have branches of a repository stay, and let them go again."""
    path = github.sim.hub.state.repos[TRUNK].git.path
    config = ("git", "-C", str(path), "config")

    def turn(*, on: bool) -> None:
        words = ("receive.denyDeletes", "true") if on else ("--unset-all", "receive.denyDeletes")
        subprocess.run([*config, *words], check=on)

    yield turn
    turn(on=False)


def artifacts(bot, pull) -> list[dict[str, Any]]:
    folder = bot.server.data / "features" / bot.run(pull).id / "gatekeeper"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_the_branch_moves_once_the_repository_s_own_checks_are_green(bot, github, model):
    model.answers(MENDED)
    model.will_answer("scripted-judy", YES)
    pull = github.open_pull(BROKEN, repo=TRUNK)
    bot.settle()
    bot.wait_for(lambda: bot.run(pull).state is RunState.GREEN, "green", 60)

    assert pull.file() == AREA
    local, ci = artifacts(bot, pull)
    assert (local["stage"], ci["stage"]) == ("gatekeeper", "ci")
    assert (local["review"]["approved"], local["review"]["engines"]) == (True, ["judy"])
    assert local["order"][:2] == ["failing step: failing test", "failing step"]
    assert local["verification"]["failing step"]["resources"]["cpu_seconds"] > 0
    assert local["sandbox"]["network"] in {"none", "host"}
    assert (ci["approved"], sorted(ci["verification"])) == (True, ["lint", "test"])
    assert ci["merge_commit"] == pull.head
    assert scratch_branches(github, TRUNK) == []
    (told,) = pull.bodies()
    assert "- [x] **Review** (gate): 1 of 1 reviewers agree" in plain(told)
    (line,) = [line for line in told.splitlines() if "**CI** on a scratch branch" in line]
    assert line.startswith("- [x]")
    assert {"`lint`", "`test`"} <= set(line.replace(",", "").split())


def test_what_the_sandbox_did_not_see_never_reaches_the_branch(bot, github, model):
    model.answers(LINT_BREAKER, MENDED)
    model.will_answer("scripted-judy", YES, YES)
    pull = github.open_pull(BROKEN, repo=TRUNK)
    bot.settle()
    bot.wait_for(lambda: bot.run(pull).state is RunState.GREEN, "green", 60)

    first, second = bot.run(pull).attempts
    assert (first.result, first.commit, first.verification.approved) == (
        Result.REJECTED,
        None,
        True,
    )
    assert first.reason == "the repository's own checks fail on the change: `lint`"
    assert "F401" in model.calls[2].prompt
    assert second.result is Result.PATCH_APPLIED
    assert len(pull.commits()) == 2
    assert scratch_branches(github, TRUNK) == []


def test_a_review_that_says_no_stops_a_change_that_the_commands_let_pass(bot, github, model):
    model.answers(CHEAT, MENDED)
    model.will_answer("scripted-judy", NO, YES)
    pull = github.open_pull(BROKEN, repo=TRUNK)
    bot.settle()
    bot.wait_for(lambda: bot.run(pull).state is RunState.GREEN, "green", 60)

    first, second = bot.run(pull).attempts
    assert (first.result, second.result) == (Result.REJECTED, Result.PATCH_APPLIED)
    assert first.verification.review.findings[0].file == "widgets/area.py"
    assert "- high `widgets/area.py`: it answers the failing case by itself" in pull.bodies()[0]


def test_where_pull_request_alone_triggers_the_workflows_no_check_runs_and_it_says_so(
    bot, github, model
):
    model.answers(MENDED)
    model.will_answer("scripted-judy", YES)
    pull = github.open_pull(BROKEN)
    pull_requests = len(github.sim.hub.state.pulls)
    bot.settle()
    bot.wait_for(lambda: bot.run(pull).state is RunState.GREEN, "green", 60)

    assert "no check ran on regreen/verify/" in pull.bodies()[0]
    assert "so the proof in the sandbox decides" in pull.bodies()[0]
    assert scratch_branches(github, pull.repo) == []
    assert len(github.sim.hub.state.pulls) == pull_requests


def test_a_scratch_branch_that_cannot_be_deleted_is_tried_again(bot, github, model, undeletable):
    model.answers(MENDED)
    model.will_answer("scripted-judy", YES)
    undeletable(on=True)
    pull = github.open_pull(BROKEN, repo=TRUNK)
    bot.settle()
    bot.wait_for(lambda: bot.run(pull).state is RunState.GREEN, "green", 60)
    bot.wait_for(lambda: bot.log.count("scratch_branch_waits") > 1, "a second try")
    assert len(scratch_branches(github, TRUNK)) == 1

    undeletable(on=False)
    bot.wait_for(lambda: scratch_branches(github, TRUNK) == [], "the branch to go", 60)
    assert pull.file() == AREA
