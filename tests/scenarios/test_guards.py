# ruff: noqa: E501 (what people read is quoted whole)
"""What a model proposes and nobody pushes, and the proof that everything else needs."""

import json
import re
from pathlib import Path

from inline_snapshot import snapshot

from tests.support.scenes import (
    AREA,
    BROKEN,
    MENDED,
    PROVED,
    REPO,
    TESTS,
    TYPO,
    WORKFLOW,
    a_try,
    edit,
    plain,
)

KEY = "AKIA" + "Q3EGRVXNKWYZ4T7P"
LEAK = edit("    return side + side", f'    aws_access_key_id = "{KEY}"\n    return side * side')


def lines(body: str) -> list[str]:
    return [plain(line) for line in body.splitlines() if re.match(r"- \S", line)]


def test_a_secret_in_the_models_change_goes_nowhere(bot, github, model):
    model.answers(LEAK)
    pull = github.open_pull(BROKEN)
    head = pull.head
    bot.settle()

    assert pull.head == head
    assert pull.conclusion() == "action_required"
    assert lines(pull.said()) == snapshot(
        [
            "- [x] **Why:** test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three) (`test`)",
            "- 🙋 the proposed change was stopped: widgets/area.py: looks like a secret: AWS key id, AKIA…",
            "- test_assert: the code can be mended",
            "- backend_for_failed_pr: kept as the fallback until attempt 3 has failed",
            "- primary works: the strategy is intelligent_primary_secondary; it has the best health",
        ]
    )
    shown = [pull.said(), json.dumps(github.sim.checks(REPO, head)), bot.log]
    assert [KEY in text for text in shown] == [False] * 3


def test_a_change_that_weakens_a_test_waits_for_a_person(bot, github, model):
    model.answers(
        edit(
            "        self.assertEqual(area(3), 9)",
            "        self.skipTest('later')",
            "tests/test_area.py",
        )
    )
    pull = github.open_pull(BROKEN)
    head = pull.head
    bot.settle()

    assert pull.head == head
    assert pull.conclusion() == "action_required"
    assert lines(pull.said()) == snapshot(
        [
            "- [x] **Why:** test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three) (`test`)",
            "- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1",
            "- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests`, `python -B fetch.py` passed",
            "- 🙋 the proved change waits for an approval (weakened_tests): the guard objects: tests/test_area.py: a test is skipped, expected to fail or run alone, in a file whose tests failed; tests/test_area.py: 1 assertion removed, in a file whose tests failed; the tests ask less than before: 1 test asserts nothing any more: test_area.AreaTest.test_a_square_of_three",
            "- 🔒 `/regreen approve SHORT` lets it out, `/regreen reject` throws it away, said by someone with write permission. Until WHEN UTC; a push voids the question.",
            "- test_assert: the code can be mended",
            "- backend_for_failed_pr: kept as the fallback until attempt 3 has failed",
            "- primary works: the strategy is intelligent_primary_secondary; it has the best health",
        ]
    )


def test_a_change_to_a_workflow_file_is_refused(bot, github, model):
    path = ".github/workflows/ci.yml"
    model.answers(
        edit("        run: python -B -m unittest discover -s tests", "        run: true", path)
    )
    pull = github.open_pull(BROKEN)
    head = pull.head
    bot.settle()

    assert pull.head == head
    assert github.sim.files_at(REPO, pull.head, path) == WORKFLOW
    assert pull.conclusion() == "action_required"
    assert lines(pull.said()) == snapshot(
        [
            "- [x] **Why:** test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three) (`test`)",
            "- 🙋 the proposed change was stopped: .github/workflows/ci.yml: the path is not ours to change (.github/workflows/**)",
            "- test_assert: the code can be mended",
            "- backend_for_failed_pr: kept as the fallback until attempt 3 has failed",
            "- primary works: the strategy is intelligent_primary_secondary; it has the best health",
        ]
    )


def test_the_base_branch_says_what_proves_a_mend(bot, github, model):
    """The pull request's own version would prove anything; it is not asked."""
    model.answers(a_try(1), MENDED)
    pull = github.open_pull(
        {**BROKEN, ".github/regreen.toml": '[commands]\ntest = "true"\n'}, repo=PROVED
    )
    bot.settle()

    first, second = pull.bodies()
    assert "\nproved by the base branch" not in first
    assert "test failed" in first
    assert "\nproved by the base branch" in second
    assert pull.file() == AREA


def test_a_broken_regreen_toml_asks_a_person_once_and_names_the_line(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, repo=TYPO)
    bot.settle()
    pull.push({"README.md": "# Again\n"})
    bot.settle()

    assert model.calls == []
    assert pull.conclusion() == "action_required"
    assert [plain(body) for body in pull.bodies()][:1] == snapshot(
        [
            """\
### Regreen: a person is needed
<!-- regreen notice run=RUN -->

.github/regreen.toml: line 2: commands.test must be a table of names

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )
    assert len(pull.bodies()) == 1  # the second head's run goes on with the comment of the first


def test_each_verification_leaves_its_evidence(bot, github, model):
    model.answers(a_try(1), MENDED)
    before = artifacts(bot)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert pull.conclusion() == "success"
    rejected, approved = [json.loads(path.read_text()) for path in sorted(artifacts(bot) - before)]
    assert sorted(rejected) == snapshot(
        [
            "approved",
            "diff_fingerprint",
            "order",
            "reason",
            "sandbox",
            "seconds",
            "stage",
            "timestamp",
            "verification",
            "weakened",
        ]
    )
    assert sorted({*approved} ^ {*rejected}) == snapshot(["merge_commit"])
    assert (rejected["approved"], approved["approved"]) == (False, True)
    proof = approved["verification"]["failing step"]
    assert sorted(proof) == snapshot(
        [
            "allow_fail",
            "command",
            "errors",
            "exit_code",
            "output",
            "passed",
            "resources",
            "seconds",
            "success",
        ]
    )
    assert (proof["passed"], proof["exit_code"]) == (True, 0)
    (proof,) = rejected["verification"].values()  # the narrowest came first, and was enough
    assert (proof["passed"], proof["exit_code"]) == (False, 1)
    assert "AssertionError: 17 != 9" in proof["output"] + proof["errors"]


def artifacts(bot) -> set[Path]:
    return set(bot.server.data.glob("features/*/gatekeeper/*.json"))


def test_a_new_test_of_the_pull_request_is_no_licence_to_change_it(bot, github, model):
    """The person's test may be wrong, but it is theirs: only the code is changed."""
    model.answers(MENDED)
    more = TESTS + "\n    def test_a_square_of_two(self):\n        self.assertEqual(area(4), 16)\n"
    pull = github.open_pull({**BROKEN, "tests/test_area.py": more})
    bot.settle()

    assert pull.file("tests/test_area.py") == more
    assert pull.conclusion() == "success"
