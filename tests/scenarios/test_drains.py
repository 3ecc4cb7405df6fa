# ruff: noqa: E501 (what people read is quoted whole)
"""Several models at one mend: two plan, one mends, one judges, and the mender may try once more."""

import re

import pytest
from inline_snapshot import snapshot

from bot.domain.runs import Result, RunState
from bot.simulator.model import Reply
from tests.support.scenes import AREA, BROKEN, MENDED, a_try, edit, plain

pytestmark = pytest.mark.parametrize("the_stage", ["drains"], indirect=True)

PLANS = {
    "ada": "1. area() adds the sides.\n2. Multiply them in widgets/area.py.",
    "ben": "1. The test may be wrong.\n2. Ask who wrote it.",
}
THE_PLAN = "1. Multiply the sides in widgets/area.py.\n2. Leave the test as it is."
YES = "VERDICT: yes\nIt multiplies the sides, as planned."
NO = "VERDICT: no\nwidgets/area.py answers the failing case by itself; multiply the sides instead."
CHEAT = edit("    return side + side", "    return 9 if side == 3 else side + side")


@pytest.fixture
def minds(model):
    """What the planners and the judge say, when a story does not say otherwise."""

    def minds(ada=PLANS["ada"], ben=(PLANS["ben"], THE_PLAN), judy=(YES,)):
        model.will_answer("scripted-ada", ada)
        model.will_answer("scripted-ben", *ben)
        model.will_answer("scripted-judy", *judy)

    return minds


def calls_of(model, name: str):
    return [call.prompt for call in model.calls if call.model == f"scripted-{name}"]


def folds(body: str) -> dict[str, str]:
    """Return what a comment folds away, by title."""
    pattern = r"<summary>(.*?)</summary>\n\n(.*?)\n\n</details>"
    return {title: plain(text) for title, text in re.findall(pattern, body, re.DOTALL)}


def test_two_plans_become_one_and_it_is_followed_and_judged(bot, github, model, minds):
    minds()
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert sorted(model.asked[:2]) == ["scripted-ada", "scripted-ben"]
    assert model.asked[2:] == ["scripted-ben", "scripted-primary", "scripted-judy"]
    assert all(PLANS[name] in calls_of(model, "ben")[1] for name in PLANS)
    assert THE_PLAN in calls_of(model, "primary")[0]
    assert THE_PLAN in calls_of(model, "judy")[0]
    assert "+    return side * side" in calls_of(model, "judy")[0]

    assert pull.file() == AREA
    (told,) = pull.bodies()
    assert folds(told)["The plan"] == snapshot("""\
- mend test (test_assert): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three)

```
1. Multiply the sides in widgets/area.py.
2. Leave the test as it is.
```\
""")
    assert folds(told)["Which backend, and why"] == snapshot("""\
- test_assert: the code can be mended
- 1 of 1 analysts agree
- primary works: the strategy is intelligent_primary_secondary; it has the best health\
""")

    pull.says("/regreen plan", by="writer")
    bot.settle()
    assert plain(pull.bodies()[-1]) == snapshot("""\
#### Plan `RUN.plan1`, WHEN UTC

- goal: mend test (test_assert): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three)
- written by `ada`, `ben`

```
1. Multiply the sides in widgets/area.py.
2. Leave the test as it is.
```


<!-- regreen reply to=N -->\
""")


def test_the_analysis_may_say_no(bot, github, model, minds):
    minds(judy=(NO, YES))
    model.answers(CHEAT, MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    first, second = bot.run(pull).attempts
    assert (first.result, first.commit) == (Result.REJECTED, None)
    assert first.verification.approved
    assert [plain(line) for line in pull.bodies()[0].splitlines() if "❌" in line] == snapshot(
        [
            "- ❌ the analysis says no: widgets/area.py answers the failing case by itself; multiply the sides instead."
        ]
    )
    assert "answers the failing case by itself" in calls_of(model, "primary")[1]
    assert second.result is Result.PATCH_APPLIED
    assert pull.file() == AREA


def test_a_planner_that_is_late_is_done_without(bot, github, model, minds):
    minds(ada=Reply(text=PLANS["ada"], delay_s=12.0), ben=(THE_PLAN,))
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    plan = bot.run(pull).plans[-1]
    assert (plan.text, plan.by) == (THE_PLAN, ("ben",))
    assert pull.conclusion() == "success"


def test_what_the_gatekeeper_rejects_is_mended_within_the_attempt(bot, github, model, minds):
    minds()
    model.answers(a_try(1), edit("    return side + side + 11", "    return side * side"))
    pull = github.open_pull(BROKEN)
    bot.settle()

    first, again = calls_of(model, "primary")
    assert "What the gatekeeper found" not in first
    assert "AssertionError: 17 != 9" in again
    assert "The files already hold a change" in again
    (attempt,) = bot.run(pull).attempts
    assert (attempt.number, attempt.qa, attempt.result) == (1, 1, Result.PATCH_APPLIED)
    assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
    assert folds(pull.said())["Which backend, and why"] == snapshot("""\
- test_assert: the code can be mended
- sent back to primary (1): `python -B -m unittest discover -s tests -k AreaTest.test_a_square_of_three` failed (1)
- 1 of 1 analysts agree
- primary works: the strategy is intelligent_primary_secondary; it has the best health\
""")
    assert pull.file() == AREA


def test_it_is_sent_back_as_often_as_the_settings_say(bot, github, model):
    """One pass in an attempt, and one attempt that has it; nobody plans or judges here."""
    first = "    return side + side + 11"
    model.answers(a_try(1), edit(first, "    return side + side + 12"), a_try(3), MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    run = bot.run(pull)
    assert [(one.number, one.qa) for one in run.attempts] == [(1, 1), (2, 0), (3, 0)]
    assert (run.state, len(pull.commits())) == (RunState.GREEN, 2)
    assert len(pull.bodies()) == 3
    assert folds(pull.said())["Which backend, and why"] == snapshot("""\
- test_assert: the code can be mended
- no plan was made: ada: not found (its program or model does not exist: install it, or name another): ada: the endpoint answered 404: The model `scripted-ada` does not exist; ben: not found (its program or model does not exist: install it, or name another): ben: the endpoint answered 404: The model `scripted-ben` does not exist
- no analyst judged the change
- primary works: the strategy is intelligent_primary_secondary; it has the best health\
""")
