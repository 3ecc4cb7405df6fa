"""What models cost is counted for each pull request, and may not exceed its budget."""

import msgspec
import pytest

from bot.domain.models import Call
from bot.domain.runs import RunState
from tests.support.scenes import BROKEN, MENDED, a_try

pytestmark = pytest.mark.parametrize("the_stage", ["budget"], indirect=True)
DEAR = "I thought about it. " * 3_000  # some 15,000 tokens: 0.06 USD


def calls(bot, pull) -> list[Call]:
    """Return the ledger's calls for a pull request, oldest first."""
    rows = bot.server.rows("SELECT record FROM model_calls WHERE state = 'settled' ORDER BY at")
    found = [msgspec.json.decode(row.record, type=Call) for row in rows]
    return [call for call in found if str(call.origin.pull) == str(pull)]


def test_each_call_is_on_the_account_of_its_run(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    (call,) = calls(bot, pull)
    run = bot.run(pull)
    assert (call.origin.run, call.origin.attempt) == (run.id, 1)
    assert (call.origin.tenant, call.origin.backend) == ("acme", "primary")
    assert call.cost_nano == round(run.attempts[0].usage.cost_usd * 1e9)
    assert pull.conclusion() == "success"
    assert {one.authorization for one in model.calls} == {"Bearer not-a-key"}


def test_a_used_up_budget_asks_a_person_and_no_other_backend(bot, github, model):
    model.answers(a_try(1) + DEAR, MENDED)
    model.fallback_answers("Not asked in this story.")
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert model.asked == ["scripted-primary"]
    assert [one.split(":")[0] for one in pull.attempts()] == [
        "### Regreen · attempt 1",
        "### Regreen · attempt 2",
    ]
    assert "a budget is used up: primary: the budget of pull acme/widgets" in pull.said()
    assert "budget.per_pull_usd" in pull.said()
    assert bot.run(pull).state is RunState.WAITING_PERSON
    assert pull.conclusion() == "action_required"
    assert len(calls(bot, pull)) == 1

    pull.says("/regreen fix")
    bot.settle()
    assert model.asked == ["scripted-primary"]
    assert len(pull.attempts()) == 2
