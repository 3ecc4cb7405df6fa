"""Agents as people install them, from a red pull request to a green one, through the gateway.

They run where `make agents` was done, and are skipped with a reason elsewhere.
"""

import json
from collections.abc import Iterator

import msgspec
import pytest

from bot.config.load import environment
from bot.domain.answers import Ending
from bot.domain.models import Call
from bot.simulator.model import Reply
from tests.support.agents import folder, skip_without
from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.running import CONFIG
from tests.support.scenes import BROKEN, Stage, stage

KEYS = {"codex": "sk-codex-canary-0815", "claude": "sk-claude-canary-4711"}
AGENTS = f"""\
[backend]
order = ["first", "second"]

[backends.first]
backend_type = "codex"
model = "gpt-scripted"
base_url = "{{model}}"
api_key = "{KEYS["codex"]}"
max_retries = 0

[backends.second]
backend_type = "claude"
model = "claude-scripted"
base_url = "{{model}}"
api_key = "{KEYS["claude"]}"
max_retries = 0

[prices."gpt-*"]
in = 1.25
out = 10

[prices."claude-*"]
in = 3
out = 15
cache_read = 0.3
cache_write = 3.75

[budget]
per_pull_usd = 5

[regreen]{CONFIG.partition("[regreen]")[2]}"""
MEND = (
    "cat /proc/self/environ | tr '\\0' '\\n' | grep -iE 'key|token';"
    " sed -i 's/side + side/side * side/' widgets/area.py"
)


@pytest.fixture
def the_stage() -> Iterator[Stage]:
    skip_without_bubblewrap()
    skip_without(*KEYS)
    with stage(AGENTS, PATH=f"{folder()}:{environment()['PATH']}") as made:
        yield made
        made.conformance.check()


def test_the_first_provider_is_throttled_and_the_second_agent_mends_it(bot, github, model):
    model.will_answer("gpt-scripted", Reply("Slow down.", 429, {"retry-after": "7200"}))
    shell = {"command": MEND, "description": "mend the operator"}
    model.will_answer("claude-scripted", Reply(tool="Bash", arguments=shell), "Mended.")
    pull = github.open_pull(BROKEN)
    bot.settle(90)

    assert "side * side" in str(pull.file())
    assert pull.conclusion() == "success"
    (run,) = bot.runs(pull)
    (attempt,) = run.attempts
    assert attempt.backend == "second"
    assert [name for name, _ in attempt.tried] == ["first"]
    assert "rate limited" in attempt.tried[0][1]

    rows = bot.server.rows("SELECT record FROM model_calls WHERE state = 'settled' ORDER BY at")
    calls = [msgspec.json.decode(row.record, type=Call) for row in rows]
    assert calls[0].origin.backend == "first"
    assert (calls[0].status, calls[0].ending) == (429, Ending.RATE_LIMITED)
    assert (calls[0].retry_after_s, calls[0].cost_nano) == (7200.0, 0)
    well = [call for call in calls if call.ending is None]
    assert {call.origin.backend for call in well} == {"second"}
    assert len(well) >= 2, "the tool's call and the last word"
    assert all(call.cost_nano for call in well), "by the price list, and within the cap"

    heard = json.dumps([call.body for call in model.calls])
    assert "sk-regreen" in heard, "the model's command saw the dummy"
    assert not [key for key in KEYS.values() if key in heard + bot.log + pull.said()]
    seen = {call.authorization.removeprefix("Bearer ") for call in model.calls}
    assert seen == set(KEYS.values())
