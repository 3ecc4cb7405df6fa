# ruff: noqa: E501 (what people read is quoted whole)
"""What is known from before, and what is told afterwards."""

import json

import pytest
from inline_snapshot import snapshot

from bot.domain.runs import GateState, Result, RunState
from bot.simulator.model import Reply
from tests.support.running import command
from tests.support.scenes import (
    AREA,
    BROKEN,
    FILES,
    MENDED,
    PROVED,
    TIDY,
    TRUNK,
    edit,
    plain,
    run_again,
)

SLOW = """\
FAILED tests/test_area.py::test_timing - AssertionError: assert 12 < 10
1 failed, 4 passed in 0.31s
"""
SKIP = edit(
    "        self.assertEqual(area(3), 9)",
    "        self.skipTest(f'{area(3)} may be wrong')",
    "tests/test_area.py",
)
FASTER = edit("# Widgets, tidied", "# Widgets, faster", "README.md")
MUTE = """\
2026-03-01T12:00:00.0000000Z ##[group]Run diffing
2026-03-01T12:00:00.0000000Z ##[endgroup]
2026-03-01T12:00:01.0000000Z comparing with what there was
2026-03-01T12:00:02.0000000Z 3 differences
"""
ONCE = {
    "fetch.py": """\
import os

assert os.environ.get("GITHUB_RUN_ATTEMPT") != "1", "the list of the day is not out yet"
"""
}
UNREADABLE = edit("    return side + side", "    l = side\n    return l * l")
WRONG = edit("    l = side\n    return l * l", "    length = side\n    return length + length")


def decided(run) -> list[str]:
    return [str(choice.strategy) for choice in run.choices]


def notices(pull) -> list[str]:
    return [plain(body) for body in pull.bodies() if "<!-- regreen notice" in body]


def test_a_flaky_test_is_run_again_and_in_the_end_taken_for_real(bot, github, model):
    """People ran it again while a change waited, or no model could be reached, and it passed."""
    story = model.story
    model.answers(SKIP, title=f"{story} 1")
    model.answers(Reply(status=503), title=f"{story} 2")
    known = [github.open_pull(TIDY, repo=PROVED, title=f"{story} {n}") for n in (1, 2)]
    for pull in known:
        pull.fails("timing", SLOW, rerun="success")
    bot.settle()
    for pull in known:
        pull.run_again("timing")
    bot.settle()
    first, second = [bot.run(pull) for pull in known]
    assert (first.state, first.gates[0].state) == (RunState.GREEN, GateState.VOID)
    assert (second.state, second.attempts[0].result) == (RunState.GREEN, Result.SUPERSEDED)
    assert [line for pull in known for line in pull.attempts()] == snapshot(
        [
            "### Regreen · attempt 1: `timing` green again without it",
            "### Regreen · attempt 1: `timing` green again without it",
        ]
    )

    model.answers(FASTER, title=f"{story} 3")
    third = github.open_pull(TIDY, repo=PROVED, title=f"{story} 3")
    third.fails("timing", SLOW)
    bot.settle()

    run = bot.run(third)
    assert decided(run) == ["retry", "retry", "patch"]
    assert plain(run.choices[0].reason) == snapshot(
        "`timing` is known to be flaky (it passed without a change 2 of 2 times, last on DAY): pytest: 1 test failed, first tests/test_area.py::test_timing: AssertionError: assert 12 < 10"
    )
    assert (run.state, len(third.commits())) == (RunState.GREEN, 2)
    seen = bot.server.rows(
        "SELECT flaked FROM test_observations WHERE check_name = 'timing' ORDER BY at, key"
    )
    assert [bool(row.flaked) for row in seen] == [True, True, False]


def test_what_the_base_branch_breaks_is_mended_there(bot, github, model):
    github.sim.commit(TRUNK, "main", {**BROKEN, "fetch.py": FILES["fetch.py"]})
    pull = github.open_pull(TIDY, repo=TRUNK)
    bot.settle()

    run = bot.run(pull)
    assert (run.state, run.upstream, run.attempts) == (RunState.WAITING_BASE, ("test",), ())
    assert (model.calls, len(pull.commits()), pull.conclusion()) == ([], 1, "neutral")
    assert notices(pull) == snapshot(
        [
            """\
### Regreen: the base branch is broken
<!-- regreen notice run=RUN -->

`test`: the base branch fails in the same way, so the mend belongs there
I look again when it is green.

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )

    github.sim.commit(TRUNK, "main", {"widgets/area.py": AREA})
    bot.settle()

    run = bot.run(pull)
    assert (run.state, decided(run)) == (RunState.WAITING_PERSON, ["retry", "retry", "escalate"])
    assert (model.calls, len(pull.commits()), pull.conclusion()) == ([], 1, "action_required")
    assert notices(pull) == snapshot(
        [
            """\
### Regreen: a person is needed
<!-- regreen notice run=RUN -->

`test` failed on the base branch and is mended there: bring this branch up to date with it, then the check can pass

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )

    pull.push({"widgets/area.py": AREA})
    bot.settle()
    assert bot.run(pull).state is RunState.SUPERSEDED


def test_what_mends_itself_on_the_base_branch_is_run_again(bot, github, model):
    tip = github.sim.commit(TRUNK, "main", {**ONCE, "widgets/area.py": AREA})
    pull = github.open_pull(TIDY, repo=TRUNK)
    bot.settle()
    assert bot.run(pull).state is RunState.WAITING_BASE

    run_again(github.sim, TRUNK, tip, "test")
    bot.settle()

    run = bot.run(pull)
    assert (run.state, run.attempts, run.upstream) == (RunState.GREEN, (), ("test",))
    assert (model.calls, len(pull.commits()), pull.conclusion()) == ([], 1, "success")
    assert notices(pull) == snapshot(
        [
            """\
### Regreen: green again
<!-- regreen notice run=RUN -->

Green again without a change to the code: the failed jobs passed when they ran again (re-run 1).

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )


def test_two_pushes_that_made_it_worse_are_undone(bot, github, model):
    model.answers(UNREADABLE, WRONG, MENDED)
    pull = github.open_pull(BROKEN)
    before = pull.head
    bot.settle()

    first, second, third = bot.run(pull).attempts
    assert (first.worse, second.worse) == (("lint",), ("test",))
    assert [one.result for one in (first, second)] == [Result.ROLLED_BACK] * 2
    assert (third.green, pull.file()) == (True, AREA)
    assert [plain(one["message"]) for one in pull.commits()] == snapshot(
        [
            "test_two_pushes_that_made_it_worse_are_undone",
            """\
Fix test

test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three)

Regreen-Run: RUN
Regreen-Attempt: 1\
""",
            """\
Fix lint

lint (N% sure): ruff: E741 Ambiguous variable name: `l`

Regreen-Run: RUN
Regreen-Attempt: 2\
""",
            """\
Undo what made it worse

attempts 1 and 2 turned lint, test red, so both are undone

Regreen-Run: RUN\
""",
            """\
Fix test

test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three)

Regreen-Run: RUN
Regreen-Attempt: 3\
""",
        ]
    )
    undo = pull.commits()[3]["sha"]
    assert github.sim.files_at(pull.repo, undo, "widgets/area.py") == BROKEN["widgets/area.py"]
    assert pull.commits()[0]["sha"] == before
    assert pull.attempts() == snapshot(
        [
            "### Regreen · attempt 1: undone, for it turned `lint` red",
            "### Regreen · attempt 2: undone, for it turned `test` red",
            "### Regreen · attempt 3: `test` green again",
        ]
    )
    assert notices(pull) == snapshot(
        [
            """\
### Regreen: green again
<!-- regreen notice run=RUN -->

Attempt 3 mended it.

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )


def stored(bot, run, table: str, columns: str) -> list[tuple[object, ...]]:
    """Return a run's rows in one of seed 4's tables."""
    where = f"run_id = '{run.id}' ORDER BY id"
    return [tuple(row) for row in bot.server.rows(f"SELECT {columns} FROM {table} WHERE {where}")]


def logged(bot, run) -> list[dict[str, str]]:
    """Return what the log says of each step of a run, without when and where it was said."""
    lines = [json.loads(line) for line in bot.log.splitlines() if '"event": "autofix"' in line]
    mine = [line for line in lines if line["run_id"] == run.id]
    return [{k: v for k, v in line.items() if k not in ("at", "logger")} for line in mine]


def test_a_run_is_told_in_every_place(bot, github, model):
    counted = (
        'autofix_attempts_total{outcome="retried",signal_type="unknown"}',
        'autofix_attempts_total{outcome="patch_applied",signal_type="unknown"}',
        'autofix_attempts_total{outcome="escalated",signal_type="unknown"}',
        "autofix_replans_total",
        "autofix_backoff_seconds_count",
        'approval_requests_total{gate_type="weakened_tests",status="requested"}',
        'approval_requests_total{gate_type="weakened_tests",status="granted"}',
    )
    before = [bot.metric(name) for name in counted]
    model.answers(SKIP)
    pull = github.open_pull(TIDY, repo=PROVED)
    pull.fails("diffing", MUTE)
    bot.settle()
    pull.says("/regreen approve", by="writer")
    bot.settle()
    run = bot.run(pull)
    assert run.state is RunState.GREEN

    after = [bot.metric(name) for name in counted]
    assert [new - old for new, old in zip(after, before, strict=True)] == snapshot(
        [2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0]
    )
    assert 0 < bot.metric("autofix_success_ratio") <= 1

    path = f"/api/meta/v3/runs/{run.id}"
    told = bot.api(f"{path}/autofix").json()
    rows = [(row["strategy"], row["outcome"], row["attempt"]) for row in told["history"]]
    assert rows == snapshot(
        [
            ("retry", "retried", 0),
            ("retry", "retried", 0),
            ("replan", "patch_applied", 1),
            ("escalate", "escalated", 0),
        ]
    )
    assert told["retry_state"].pop("last_backoff_seconds") == pytest.approx(0.15)
    assert told["retry_state"] == snapshot(
        {
            "total_attempts": 1,
            "max_total_attempts": 10,
            "per_step_attempts": {"diffing": 1},
            "max_per_step_attempts": 5,
        }
    )
    (asked,) = bot.api(f"{path}/escalations").json()["escalations"]
    assert (asked["gate_id"], asked["signal_types"]) == (run.gates[0].id, ["unknown"])
    (delta,) = bot.api(f"{path}/plan-deltas").json()["plan_deltas"]
    assert (delta["triggered_by"], delta["delta_data"]) == snapshot(
        (
            "unknown_persists",
            {
                "added": ["find out why diffing fails, for its log does not say, and mend that"],
                "removed": [],
            },
        )
    )

    assert stored(bot, run, "auto_fix_runs", "strategy, outcome, attempt") == rows
    assert stored(bot, run, "escalations", "id, gate_id") == [(asked["id"], asked["gate_id"])]
    assert stored(bot, run, "plan_deltas", "id, triggered_by") == [
        (delta["id"], "unknown_persists")
    ]
    assert stored(bot, run, "approvals", "state, answered_by") == [("approved", "writer")]
    assert stored(bot, run, "retry_states", "total_attempts, attempt_counter") == [(1, 1)]
    audit = bot.server.rows(f"SELECT kind FROM audit WHERE subject = '{run.id}' ORDER BY id")
    assert [row.kind for row in audit] == snapshot(
        [
            "autofix.classified",
            "autofix.retry",
            "run.waiting_ci",
            "autofix.classified",
            "autofix.retry",
            "run.waiting_ci",
            "autofix.classified",
            "autofix.replanned",
            "autofix.escalated",
            "autofix.classified",
            "autofix.escalated",
            "approval.requested",
            "run.waiting_person",
            "approval.granted",
            "autofix.patch_applied",
            "run.waiting_ci",
            "run.green",
        ]
    )

    assert logged(bot, run)[0] == {
        "event": "autofix",
        "level": "info",
        "run_id": run.id,
        "step_id": f"{run.id}/diffing",
        "signal_type": "unknown",
        "strategy": "retry",
        "outcome": "retried",
        "attempt": "0",
    }

    for word in ("explain", "plan"):
        pull.says(f"/regreen {word}")
        bot.settle()
    explained, planned = pull.bodies()[-2:]
    assert plain(explained) == snapshot("""\
#### Run `RUN` of `acme/proved#N`

- begun WHEN UTC, looked at commit `SHORT`
- 4 choices, 1 attempt

#### 1. retry on `SHORT`, WHEN UTC

- because: unknown: Nothing in the log says why.
- failing: `diffing`: unknown, N% sure: Nothing in the log says why. (fingerprint `SHORT`)
- went by: attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 0, 2 allowed
- waited: T s
- came of it: retried

#### 2. retry on `SHORT`, WHEN UTC

- because: unknown: Nothing in the log says why.
- failing: `diffing`: unknown, N% sure: Nothing in the log says why. (fingerprint `SHORT`)
- went by: attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 1, 2 allowed
- waited: T s
- came of it: retried

#### 3. replan on `SHORT`, WHEN UTC

- because: unknown: running it again did not help
- failing: `diffing`: unknown, N% sure: Nothing in the log says why. (fingerprint `SHORT`)
- went by: attempts counted on the pull request: 0; tier: primary; replanned because of: unknown_persists; attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 2, 2 allowed
- chose: primary works: the strategy is intelligent_primary_secondary; it has the best health
- proof: passed
- came of it: attempt 1 by `primary` (scripted-primary): patch applied as `SHORT`, CI is green

#### 4. escalate on `SHORT`, WHEN UTC

- because: the proved change waits for an approval (weakened_tests): the guard objects: tests/test_area.py: a test is skipped, expected to fail or run alone; tests/test_area.py: 1 assertion removed; the tests ask less than before: 1 test asserts nothing any more: test_area.AreaTest.test_a_square_of_three
- failing: `diffing`: unknown, N% sure: Nothing in the log says why. (fingerprint `SHORT`)
- went by: attempts of this run: 1; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 2, 2 allowed
- came of it: escalated

#### Plan `RUN.plan1`, WHEN UTC

- goal: find out why diffing fails, for its log does not say, and mend that
- changed at WHEN UTC by `unknown_persists`: added: find out why diffing fails, for its log does not say, and mend that

#### Gate `RUN-1` (`weakened_tests`), WHEN UTC

- because: the proved change waits for an approval (weakened_tests): the guard objects: tests/test_area.py: a test is skipped, expected to fail or run alone; tests/test_area.py: 1 assertion removed; the tests ask less than before: 1 test asserts nothing any more: test_area.AreaTest.test_a_square_of_three
- bound to commit `SHORT`; an answer takes write permission
- approved by writer, WHEN UTC

#### The end: green

- because: Green again
- since WHEN UTC


<!-- regreen reply to=N -->\
""")
    assert plain(planned) == snapshot("""\
#### Plan `RUN.plan1`, WHEN UTC

- goal: find out why diffing fails, for its log does not say, and mend that

#### How the plan changed, newest first

- changed at WHEN UTC by `unknown_persists`: added: find out why diffing fails, for its log does not say, and mend that


<!-- regreen reply to=N -->\
""")
    assert plain(command(bot.server, "explain", run.id)) == snapshot("""\
Run RUN of acme/proved#N
  begun WHEN UTC, looked at commit SHORT
  4 choices, 1 attempt

1. retry on SHORT, WHEN UTC
  because: unknown: Nothing in the log says why.
  failing: diffing: unknown, N% sure: Nothing in the log says why. (fingerprint SHORT)
  went by: attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 0, 2 allowed
  waited: T s
  came of it: retried

2. retry on SHORT, WHEN UTC
  because: unknown: Nothing in the log says why.
  failing: diffing: unknown, N% sure: Nothing in the log says why. (fingerprint SHORT)
  went by: attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 1, 2 allowed
  waited: T s
  came of it: retried

3. replan on SHORT, WHEN UTC
  because: unknown: running it again did not help
  failing: diffing: unknown, N% sure: Nothing in the log says why. (fingerprint SHORT)
  went by: attempts counted on the pull request: 0; tier: primary; replanned because of: unknown_persists; attempts of this run: 0; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 2, 2 allowed
  chose: primary works: the strategy is intelligent_primary_secondary; it has the best health
  proof: passed
  came of it: attempt 1 by primary (scripted-primary): patch applied as SHORT, CI is green

4. escalate on SHORT, WHEN UTC
  because: the proved change waits for an approval (weakened_tests): the guard objects: tests/test_area.py: a test is skipped, expected to fail or run alone; tests/test_area.py: 1 assertion removed; the tests ask less than before: 1 test asserts nothing any more: test_area.AreaTest.test_a_square_of_three
  failing: diffing: unknown, N% sure: Nothing in the log says why. (fingerprint SHORT)
  went by: attempts of this run: 1; total attempts allowed: 10; attempts allowed per check: 5; re-runs of diffing: 2, 2 allowed
  came of it: escalated

Plan RUN.plan1, WHEN UTC
  goal: find out why diffing fails, for its log does not say, and mend that
  changed at WHEN UTC by unknown_persists: added: find out why diffing fails, for its log does not say, and mend that

Gate RUN-1 (weakened_tests), WHEN UTC
  because: the proved change waits for an approval (weakened_tests): the guard objects: tests/test_area.py: a test is skipped, expected to fail or run alone; tests/test_area.py: 1 assertion removed; the tests ask less than before: 1 test asserts nothing any more: test_area.AreaTest.test_a_square_of_three
  bound to commit SHORT; an answer takes write permission
  approved by writer, WHEN UTC

The end: green
  because: Green again
  since WHEN UTC
""")
