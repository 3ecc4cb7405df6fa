"""Row 42: secrets of a log or a model come to rest in rows, artifacts, logs, comments, check runs.

Controls: outcomes are cleaned before they are stored (`bot.domain.inert.scrubbed`), a diff that
adds a secret is dropped before that (`guard.leaking`), and every port through which text leaves is
filtered (`bot.telemetry.outgoing`).
"""

import base64
import string
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import sqlalchemy as sa

from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.errors import NeedsPerson
from bot.domain.inert import scrubbed
from bot.domain.leaks import Known
from bot.domain.ports import Ports
from bot.domain.runs import Run, RunState, Scratch
from bot.domain.values import PullRef, RunId, Secret, Sha, Verification
from bot.repair.guard import leaking
from bot.runtime.codec import dump
from bot.store.memory import MemoryAudit, MemoryRuns
from bot.telemetry.outgoing import Filtered, FilteredTrees, guarded
from tests.support.scenes import BROKEN, edit

LETTERS = string.ascii_letters + string.digits
TOKEN = "gh" + "s_" + (LETTERS * 9)[:516]
AT = datetime(2026, 1, 2, tzinfo=UTC)
LOG = f"""\
Traceback (most recent call last):
  File "widgets/area.py", line 6, in area
    push(token="{TOKEN}")
AssertionError: {TOKEN} != 9
FAILED (failures=1)
"""


def everything(url: str) -> str:
    """Return all rows of all tables of a database but the deliveries, which are as GitHub sent."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        assert {"runs", "workflow_status", "operation_outputs"} <= set(names)
        rows = [
            str(tuple(row))
            for name in names
            if name != "deliveries"
            for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"')
        ]
    return "\n".join(rows)


def files(folder: Path) -> str:
    found = [path for path in folder.rglob("features/**/*") if path.is_file()]
    return "\n".join(path.read_text() for path in found)


def test_a_token_of_520_characters_is_nowhere(bot, github, model):
    assert len(TOKEN) >= 519
    model.answers(
        f"The token is {TOKEN}.\n" + edit("    return side + side", "    return side - side"),
        edit("    return side + side", f'    token = "{TOKEN}"\n    return side * side'),
    )
    pull = github.open_pull(BROKEN)
    pull.fails("test", LOG)
    bot.settle()

    shown = {
        "comments": pull.said(),
        "check runs": str(github.sim.checks(pull.repo, pull.head)),
        "log": bot.log,
        "rows": everything(f"sqlite:///{bot.server.data / 'regreen.db'}"),
        "artifacts": files(bot.server.data),
        "prompts": "".join(call.prompt for call in model.calls),
    }
    assert len(model.calls) == 2
    assert "looks like a secret: GitHub token" in pull.said()
    assert [where for where, text in shown.items() if TOKEN[10:200] in text] == []
    assert [where for where, text in shown.items() if LETTERS[:40] in text] == []


def ended(text: str, diff: str = "") -> effects.BackendEnded:
    return effects.BackendEnded(Answer(Ending.EDITED, text), diff, AT)


def test_an_outcome_would_be_stored_with_it():
    outcome = ended(f"I found {TOKEN}")
    assert TOKEN in dump(outcome)
    assert TOKEN not in dump(scrubbed(outcome))


ADDED = f'--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = "{TOKEN}"\n'
HAD = f'--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n x = "{TOKEN}"\n-y = 1\n+y = 2\n'


def test_a_diff_is_dropped_for_what_it_adds_alone():
    assert leaking(ADDED) == ("a.py: looks like a secret: GitHub token, ghs_…",)
    assert leaking(HAD) == ()


def test_cleaning_keeps_the_shape_of_every_value():
    verdict = Verification(approved=True, reason=f"ok {TOKEN}", weakened=(TOKEN, "b"))
    clean = scrubbed(verdict)
    assert clean == Verification(
        approved=True, reason="ok [redacted]", weakened=("[redacted]", "b")
    )
    assert msgspec.json.decode(dump(clean), type=Verification) == clean
    assert scrubbed(verdict, keep={"reason"}).reason == verdict.reason


OURS = Secret("correct/horse+battery-9")


class Clock:
    def now(self) -> datetime:
        return AT


@pytest.mark.parametrize("filtered", [True, False], ids=["on", "off"])
def test_the_audit_trail_is_kept_clean(filtered):
    audit = MemoryAudit(Clock())
    port = Filtered(audit, ("append",), lambda text: text.replace(OURS.reveal(), "[redacted]"))
    (port if filtered else audit).append("k", "kind", "run", {"why": [OURS.reveal()]})
    (row,) = audit.of("run")
    assert (OURS.reveal() in str(row)) is not filtered


class Committed:
    """Trees that commit whatever they are given; `diffs` remembers it."""

    def __init__(self) -> None:
        self.diffs: list[tuple[object, ...]] = []

    def commit(self, *words: object) -> str:
        self.diffs.append(words)
        return "c" * 40


SPELLED = {
    "plain": lambda text: text,
    "backwards": lambda text: text[::-1],
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "within base64": lambda text: base64.b64encode(f"k={text};".encode()).decode(),
    "url": lambda text: quote(text, safe=""),
}


@pytest.mark.parametrize("spell", SPELLED.values(), ids=SPELLED)
def test_no_secret_of_ours_is_committed(spell):
    trees = Committed()
    known = Known([OURS])
    port: Any = FilteredTrees(trees, str, known.within)
    diff = f"+x = '{spell(OURS.reveal())}'"
    with pytest.raises(NeedsPerson):
        port.commit("o/r", "a", diff, "m", AT, None)
    assert trees.diffs == []
    port = FilteredTrees(trees, str, lambda _: False)
    port.commit("o/r", "a", diff, "m", AT, None)
    assert trees.diffs[0][2] == diff


def test_a_change_that_waits_goes_out_as_it_was_proved():
    """A repository's own code may hold what looks like a key, near what is mended."""
    diff = f"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n token = '{TOKEN}'\n-x = 1\n+x = 2\n"
    runs = MemoryRuns()
    named: dict[str, Any] = {field.name: runs for field in fields(Ports)}
    run = Run(
        id=RunId("r"),
        pull=PullRef("o/r", 7),
        state=RunState.WAITING_PROOF,
        head=Sha("a" * 40),
        generation=1,
        started_at=AT,
        updated_at=AT,
        reason=f"{TOKEN} is why",
        scratch=Scratch("regreen/verify/7-1", diff),
    )
    guarded(Ports(**named), lambda: (OURS,)).runs.save(run)
    kept = runs.read(run.id)
    assert kept is not None
    assert kept.scratch == run.scratch
    assert TOKEN not in kept.reason


def test_a_key_that_is_a_word_changes_nothing():
    """`ollama` is a key that local models take, and may be a backend's name."""
    audit = MemoryAudit(Clock())
    named: dict[str, Any] = {field.name: audit for field in fields(Ports)}
    port = guarded(Ports(**named), lambda: (Secret("ollama"), OURS)).audit
    port.append("k", "kind", "run", {"backend": "ollama", "said": OURS.reveal()})
    (row,) = audit.of("run")
    assert row["detail"] == {"backend": "ollama", "said": "[redacted]"}
