"""Each kind of failure on a pull request of its own: it ends as the table in `docs/policy.md` says.

Lint, a failing test and a crash really happen in CI; the other logs are those of tools that do not
run here.
"""

import time
from dataclasses import dataclass

import pytest

from bot.domain.runs import GateState, RunState, Strategy
from bot.domain.values import FailureType
from tests.support.scenes import AREA, BROKEN, MENDED, PROVED, REPO, UNLINTED, edit

ALONE = {".github/workflows/ci.yml": None}  # no other job runs beside the one of the story
LOOSE = {"widgets/area.py": AREA.replace("side * side", "side * 1.0 * side")}
TIGHT = edit("    return side * 1.0 * side", "    return side * side")
MYPY = """\
widgets/area.py:6: error: Incompatible return value type (got "float", expected "int")
Found 1 error in 1 file (checked 2 source files)
"""
ALEMBIC = """\
INFO  [alembic.runtime.migration] Context impl SQLiteImpl.
ERROR [alembic.util.messaging] Can't locate revision identified by '3f1c2a9b8d7e'
FAILED: Can't locate revision identified by '3f1c2a9b8d7e'
"""
PIP_AUDIT = """\
Found 1 known vulnerability in 1 package
Name     Version ID             Fix Versions
-------- ------- -------------- ------------
left-pad 1.0.0   CVE-2026-12345 1.0.1
"""
LICENCES = "notes.py:1: missing license header\n"
TIMED_OUT = "curl: (28) Connection timed out after 30001 milliseconds\n"
DISK_FULL = "write error: No space left on device\n"
LIMITED = "Request failed with status code 429\nRetry-After: 1\n"
MUTE = """\
2026-03-01T12:00:00.0000000Z ##[group]Run nightly
2026-03-01T12:00:00.0000000Z ##[endgroup]
2026-03-01T12:00:01.0000000Z comparing with what there was
2026-03-01T12:00:02.0000000Z 3 differences
"""


@dataclass(frozen=True)
class Mend:
    """A failure that the code is to blame for; without a *log* the workflow itself fails."""

    files: dict[str, str]
    answer: str = ""
    check: str = "test"
    log: str = ""


@dataclass(frozen=True)
class Blameless:
    """A failure that no code is to blame for, and how often it is run again."""

    log: str
    times: int
    waits_s: tuple[float, ...]


MENDS = {
    FailureType.LINT: Mend(UNLINTED, check="lint"),
    FailureType.TEST_ASSERT: Mend(BROKEN, MENDED),
    FailureType.RUNTIME: Mend(
        {"fetch.py": "print(1 / 0)\n"}, edit("print(1 / 0)", "print(1)", "fetch.py")
    ),
    FailureType.TYPECHECK: Mend(LOOSE, TIGHT, "types", MYPY),
    FailureType.SCHEMA_MIGRATION: Mend(
        {"alembic/b.py": 'down_revision = "3f1c2a9b8d7e"\n'},
        edit('down_revision = "3f1c2a9b8d7e"', 'down_revision = "1a2b3c4d5e6f"', "alembic/b.py"),
        "migrations",
        ALEMBIC,
    ),
}
FINDINGS = {
    FailureType.SECURITY: Mend(
        {"requirements.txt": "left-pad==1.0.0\n"},
        edit("left-pad==1.0.0", "left-pad==1.0.1", "requirements.txt"),
        "audit",
        PIP_AUDIT,
    ),
    FailureType.POLICY: Mend(
        {"notes.py": '"""Notes."""\n'},
        edit('"""Notes."""', '# Licensed under the Apache Licence.\n"""Notes."""', "notes.py"),
        "licences",
        LICENCES,
    ),
}
BLAMELESS = {
    FailureType.TRANSIENT: Blameless(TIMED_OUT, 3, (0.1, 0.2, 0.4)),
    FailureType.INFRA: Blameless(DISK_FULL, 2, (0.1, 0.15)),
    FailureType.RATE_LIMIT: Blameless(LIMITED, 3, (1.0, 1.0, 1.0)),
}


def opened(github, model, mend: Mend):
    """Open the pull request with its failure, where the base branch says what proves a mend."""
    if mend.answer:
        model.answers(mend.answer)
    pull = github.open_pull(mend.files, repo=PROVED if mend.log else REPO)
    if mend.log:
        pull.fails(mend.check, mend.log)
    return pull


def kinds(table):
    return [pytest.param(kind, id=kind.value) for kind in table]


def judged(run) -> list[tuple[str, str, float | None]]:
    """Return each decision of a run: what, about which kind of failure, and how long it waited."""
    return [
        (str(choice.strategy), one.type.value, choice.backoff_s)
        for choice in run.choices
        for one in choice.judged
    ]


@pytest.mark.parametrize("kind", kinds(MENDS))
def test_what_the_code_is_to_blame_for_is_mended(bot, github, model, kind):
    mend = MENDS[kind]
    pull = opened(github, model, mend)
    bot.settle()

    run = bot.run(pull)
    assert judged(run) == [("patch", kind.value, None)]
    assert run.state is RunState.GREEN
    assert pull.attempts() == [f"### Regreen · attempt 1: `{mend.check}` green again"]
    assert run.attempts[0].backend == ("primary" if mend.answer else "fixers")
    assert len(pull.commits()) == 2


@pytest.mark.parametrize("kind", kinds(FINDINGS))
def test_a_finding_is_mended_held_and_let_out_by_a_person(bot, github, model, kind):
    pull = opened(github, model, FINDINGS[kind])
    bot.settle()

    run = bot.run(pull)
    assert (run.state, run.gates[0].types) == (RunState.WAITING_PERSON, (kind.value,))
    assert len(pull.commits()) == 1

    pull.says("/regreen approve", by="writer")
    bot.settle()

    run = bot.run(pull)
    assert judged(run) == [("patch", kind.value, None), ("escalate", kind.value, None)]
    assert (run.state, run.gates[0].state) == (RunState.GREEN, GateState.APPROVED)
    assert len(pull.commits()) == 2


@pytest.mark.parametrize("kind", kinds(BLAMELESS))
def test_what_no_code_is_to_blame_for_is_run_again(bot, github, model, kind):
    pull = github.open_pull(ALONE)
    pull.fails("deploy", BLAMELESS[kind].log, rerun="success")
    bot.settle()

    run = bot.run(pull)
    assert judged(run) == [("retry", kind.value, BLAMELESS[kind].waits_s[0])]
    assert (run.state, run.attempts) == (RunState.GREEN, ())
    assert (model.calls, len(pull.commits())) == ([], 1)


@pytest.mark.parametrize("kind", kinds(BLAMELESS))
def test_when_that_does_not_help_a_person_is_asked(bot, github, model, kind):
    row = BLAMELESS[kind]
    pull = github.open_pull(ALONE)
    pull.fails("deploy", row.log)
    bot.settle()

    run = bot.run(pull)
    again = [("retry", kind.value, pytest.approx(wait_s)) for wait_s in row.waits_s]
    assert judged(run) == [*again, ("escalate", kind.value, None)]
    assert f"failed again after {row.times} re-runs ({kind.value})" in run.reason
    assert (run.state, run.attempts) == (RunState.WAITING_PERSON, ())
    assert (model.calls, pull.conclusion()) == ([], "action_required")


def test_a_limit_is_waited_for_until_the_log_says_that_it_ends(bot, github, model):
    pull = github.open_pull(ALONE)
    in_an_hour = int(time.time()) + 3_600
    pull.fails("deploy", f"API rate limit exceeded\nX-RateLimit-Reset: {in_an_hour}\n")
    bot.settle()

    run = bot.run(pull)
    assert run.state is RunState.WAITING_DELAY
    assert 3_500 <= run.choices[0].backoff_s <= 3_600


def test_what_nobody_can_tell_is_run_again_then_planned_anew_and_mended(bot, github, model):
    model.answers(TIGHT)
    pull = github.open_pull(LOOSE, repo=PROVED)
    pull.fails("nightly", MUTE)
    bot.settle()

    run = bot.run(pull)
    assert judged(run) == [
        ("retry", "unknown", 0.1),
        ("retry", "unknown", pytest.approx(0.15)),
        ("replan", "unknown", None),
    ]
    assert run.choices[-1].strategy is Strategy.REPLAN
    (delta,) = run.deltas
    assert (delta.triggered_by, delta.new) == ("unknown_persists", run.attempts[0].plan)
    assert delta.added == ("find out why nightly fails, for its log does not say, and mend that",)
    assert run.state is RunState.GREEN
    assert pull.file() == AREA


def test_every_kind_has_its_pull_request():
    told = [*MENDS, *FINDINGS, *BLAMELESS, FailureType.UNKNOWN]
    assert sorted(told) == sorted(FailureType)
