"""What follows when an agent's limit is reached: it waits and tries again, or a cap ends it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bot.backends.registry import Registry
from bot.backends.run import witnessed
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Answer, Ending
from bot.domain.models import Caps
from bot.gateway.chat import Chat
from tests.adapters.test_backend_agents import PROPER, a_call, outside, program
from tests.support.gateways import running
from tests.support.tasks import a_task, fill

LIMITED = """\
echo called >> calls
if [ "$(wc -l < calls)" -lt {good} ]; then
  echo '{{"type":"turn.failed","error":{{"message":"{words}"}}}}'
  exit 1
fi
"""
SPENT = "You have hit your usage limit."
# Calls its model, and says what became of it in words that mean a vendor's limit.
CALLS = """\
echo called >> calls
url=$(printf '%s' "$*" | grep -o 'http://127[^"]*')
python3 - "$url/responses" <<'PROGRAM'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], b'{"model":"m"}'))
except urllib.error.HTTPError as error:
    message = f"insufficient_quota {error.code}"
    print('{"type":"turn.failed","error":{"message":"%s"}}' % message)
PROGRAM
exit 1
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    return fill(tmp_path / "tree", {"a.py": "x = 1\n"})


def end(tmp_path: Path, tree: Path, script: str, stop=lambda: False, **changes) -> Answer:
    budget = changes.pop("budget", Caps())
    names = changes.pop("ways", ())
    given = {"base_url": "http://127.0.0.1:9/v1", "price_in": 1.0, "price_out": 1.0, **changes}
    config = BackendConfig("codex", "codex", "m", **given)
    ways = {name: replace(config, provider=name) for name in names}
    config = replace(config, providers=names, ways=ways)
    configuration = Configuration(backends={"codex": config}, budget=budget)
    with running() as (gateway, _, _):
        sandbox = outside(program(tmp_path, script))
        registry = Registry(lambda: configuration, sandbox, Chat(), gateway=gateway)
        return registry.run("codex", fallback=False, task=a_task(), tree=tree, stop=stop)


def calls(tree: Path) -> int:
    return len((tree / "calls").read_text().splitlines())


@pytest.mark.parametrize(
    ("words", "changes", "ending", "times"),
    [
        pytest.param(SPENT, {}, Ending.USAGE_LIMIT, 1, id="as upstream: not at all by itself"),
        pytest.param(SPENT, {"usage_limit_retry_count": 1}, Ending.USAGE_LIMIT, 2, id="too few"),
        pytest.param(SPENT, {"usage_limit_retry_count": 5}, Ending.EDITED, 3, id="until it works"),
        pytest.param(
            "rate limit exceeded", {"usage_limit_retry_count": 5}, Ending.EDITED, 3, id="rate"
        ),
        pytest.param(
            f"{SPENT} Try again in 3h0m5s.",
            {"usage_limit_retry_count": 5},
            Ending.USAGE_LIMIT,
            1,
            id="a long wait is handed back",
        ),
        pytest.param(
            SPENT,
            {"usage_limit_retry_count": 5, "ways": ("one", "two")},
            Ending.USAGE_LIMIT,
            1,
            id="the next provider comes first",
        ),
        pytest.param(
            "Incorrect API key provided",
            {"usage_limit_retry_count": 5},
            Ending.AUTH,
            1,
            id="no limit",
        ),
    ],
)
def test_an_agent_at_its_limit_tries_again_as_often_as_its_section_says(
    tmp_path, tree, words, changes, ending, times
):
    answer = end(tmp_path, tree, LIMITED.format(good=3, words=words) + PROPER, **changes)
    assert (answer.ending, calls(tree)) == (ending, times), answer.detail


def test_whoever_is_stopped_does_not_wait_for_a_limit(tmp_path, tree):
    script = f"touch up\n{LIMITED.format(good=9, words=SPENT)}"
    waits = {"usage_limit_retry_count": 9, "usage_limit_retry_wait_s": 3600.0}
    answer = end(tmp_path, tree, script, (tree / "up").exists, **waits)
    assert answer.ending in {Ending.KILLED, Ending.USAGE_LIMIT}, "as far as it came"
    assert not (tree / "calls").exists() or calls(tree) == 1


@pytest.mark.parametrize("setting", ["per_pull_usd", "per_day_usd"])
def test_a_cap_of_ours_is_no_limit_to_wait_for(tmp_path, tree, setting):
    budget = Caps(**{setting: 0.0})
    answer = end(tmp_path, tree, CALLS, budget=budget, usage_limit_retry_count=5)
    assert (answer.ending, calls(tree)) == (Ending.BUDGET, 1), answer.detail
    assert f"budget.{setting}" in answer.detail
    assert (answer.retry_after_s is None) == (setting == "per_pull_usd")
    assert (answer.retry_after_s or 1.0) > 0


def test_the_answer_says_when_a_budget_begins_anew():
    call = a_call(Ending.BUDGET, cap="budget.per_day_usd", retry_after_s=3600.0)
    answer = witnessed(Answer(Ending.TOOL_FAILED), [call], "mine")
    assert (answer.ending, answer.retry_after_s) == (Ending.BUDGET, 3600.0)
