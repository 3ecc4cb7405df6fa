"""`docs/api.md`: every call is in it, and its answers have the shapes that callers get."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from bot.config.rewrite import EngineFile
from bot.runtime.inbox import Inbox
from bot.store.memory import MemoryAudit, MemoryDeliveries, MemoryRuns
from bot.web.api import approvals, classify, engine_settings, runs
from tests.support.api import TOKEN, Stopped

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?m)^    \{(?:.*\n)(?:    .*\n|(?=\n    ))*", TEXT)
SHAPES = {
    ("gate_id", "status"): approvals.Accepted,
    ("run_id", "status"): runs.Accepted,
    ("escalations", "gates", "run_id"): runs.Escalations,
    ("history", "retry_state", "run_id"): runs.Autofix,
    ("plan_deltas", "plans", "run_id"): runs.PlanDeltas,
    ("chains", "project", "scope", "version"): engine_settings.Shown,
}
EXAMPLES = {tuple(sorted(one)): one for block in BLOCKS if (one := json.loads(block))}


@pytest.mark.parametrize("keys", sorted(SHAPES), ids="-".join)
def test_the_answers_that_are_shown_are_those_that_are_given(keys):
    shown = EXAMPLES[keys]
    given = msgspec.json.encode(msgspec.convert(shown, SHAPES[keys]))
    assert json.loads(given) == shown


def test_every_call_is_documented():
    inbox, clock, store = Inbox(MemoryDeliveries()), Stopped(), MemoryRuns()
    served = [
        *classify.routes(TOKEN, clock),
        *runs.routes(TOKEN, read_run=store.read, inbox=inbox, clock=clock),
        *approvals.routes(TOKEN, by_gate=store.by_gate, inbox=inbox, clock=clock),
        *engine_settings.routes(TOKEN, EngineFile(None, {}), MemoryAudit(clock)),
    ]
    calls = {
        f"| `{method} {r.path}` |" for r in served for method in (r.methods or set()) - {"HEAD"}
    }
    assert calls == set(re.findall(r"(?m)^\| `(?:GET|POST|PUT) /[^`]*` \|", TEXT))
