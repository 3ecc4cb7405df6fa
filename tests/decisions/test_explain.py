"""A run explained: everything it went by is told, and nothing from outside speaks for itself."""

import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from bot.cli.explain import told
from bot.domain.runs import (
    Attempt,
    Choice,
    Gate,
    GateState,
    Judged,
    Plan,
    PlanDelta,
    Result,
    RunState,
    Strategy,
)
from bot.domain.values import FailureType, RunId, Verification
from bot.github.limits import COMMENT_CHARS
from bot.repair import explain
from bot.repair.explain import explain_markdown, explain_text, plan_markdown
from tests.support.pulls import HEAD, NOW, OTHER, a_run

KEY = "ghp_" + "a" * 36  # what a token looks like


def a_choice(number=1, **changes):
    choice = Choice(
        number=number,
        at=NOW + timedelta(minutes=number),
        head=HEAD,
        strategy=Strategy.PATCH,
        reason="lint: the code can be mended",
        judged=(Judged("lint", FailureType.LINT, 0.97, "a.py:1: unused import", "f" * 64),),
        inputs=(("attempts of this run", "0"), ("total attempts allowed", "6")),
    )
    return msgspec.structs.replace(choice, **changes)


def an_attempt(number=1, **changes):
    attempt = Attempt(
        number=number,
        trigger="pr-7-aaaaaaaaaaaa",
        head=HEAD,
        started_at=NOW + timedelta(minutes=number),
        backend="codex",
        model="gpt-5",
        result=Result.PATCH_APPLIED,
        commit=OTHER,
        green=True,
        tried=(("claude", "breaker open"),),
        verification=Verification(approved=True, reason=""),
    )
    return msgspec.structs.replace(attempt, **changes)


def a_gate(**changes):
    gate = Gate(
        id="r1-1",
        types=("security",),
        head=HEAD,
        reason="a security finding",
        diff="diff --git a/a.py b/a.py\n+secret = 1\n",
        asked_at=NOW,
        remind_at=NOW + timedelta(days=1),
        expires_at=NOW + timedelta(days=7),
        asked_by="ada",
    )
    return msgspec.structs.replace(gate, **changes)


PLANS = (
    Plan("r1.plan1", NOW, ("mend lint",)),
    Plan("r1.plan2", NOW, ("mend test",), "1. Read a.py.\n2. Mend it.", ("opus",)),
)
DELTA = PlanDelta(
    id="r1.delta1",
    original="r1.plan1",
    new="r1.plan2",
    added=("mend test",),
    removed=("mend lint",),
    triggered_by="unknown_persists",
    at=NOW,
)
STORY = a_run(
    state=RunState.WAITING_PERSON,
    reason="a person must look at it",
    asked_by="ada",
    choices=(
        a_choice(1, strategy=Strategy.RETRY, result=Result.RETRIED, backoff_s=2.0),
        a_choice(2, attempt=1),
    ),
    attempts=(an_attempt(1, started_at=NOW + timedelta(minutes=2)),),
    plans=PLANS,
    deltas=(DELTA,),
    gates=(a_gate(),),
)


def test_a_terminal_is_told_the_whole_story():
    assert explain_text(STORY) == snapshot("""\
Run r1 of octo/app#7
  begun 2026-03-01 12:00:00 UTC, looked at commit aaaaaaaaaaaa
  2 choices, 1 attempt
  asked for by ada

1. retry on aaaaaaaaaaaa, 2026-03-01 12:01:00 UTC
  because: lint: the code can be mended
  failing: lint: lint, 97% sure: a.py:1: unused import (fingerprint ffffffffffff)
  went by: attempts of this run: 0; total attempts allowed: 6
  waited: 2 s
  came of it: retried

2. patch on aaaaaaaaaaaa, 2026-03-01 12:02:00 UTC
  because: lint: the code can be mended
  failing: lint: lint, 97% sure: a.py:1: unused import (fingerprint ffffffffffff)
  went by: attempts of this run: 0; total attempts allowed: 6
  passed over: claude: breaker open
  proof: passed
  came of it: attempt 1 by codex (gpt-5): patch applied as bbbbbbbbbbbb, CI is green

Plan r1.plan1, 2026-03-01 12:00:00 UTC
  goal: mend lint

Plan r1.plan2, 2026-03-01 12:00:00 UTC
  goal: mend test
  written by opus
  changed at 2026-03-01 12:00:00 UTC by unknown_persists: added: mend test; removed: mend lint
    1. Read a.py.
    2. Mend it.

Gate r1-1 (security), 2026-03-01 12:00:00 UTC
  because: a security finding
  bound to commit aaaaaaaaaaaa; an answer takes write permission
  ada asked for the try and may not approve it
  waits for a person until 2026-03-08 12:00:00 UTC
  answers: /regreen approve aaaaaaaaaaaa or /regreen reject

Now: waiting person
  because: a person must look at it
  since 2026-03-01 12:00:00 UTC
""")


def test_a_comment_is_told_the_whole_story():
    assert explain_markdown(STORY) == snapshot("""\
#### Run `r1` of `octo/app#7`

- begun 2026-03-01 12:00:00 UTC, looked at commit `aaaaaaaaaaaa`
- 2 choices, 1 attempt
- asked for by ada

#### 1. retry on `aaaaaaaaaaaa`, 2026-03-01 12:01:00 UTC

- because: lint: the code can be mended
- failing: `lint`: lint, 97% sure: a.py:1: unused import (fingerprint `ffffffffffff`)
- went by: attempts of this run: 0; total attempts allowed: 6
- waited: 2 s
- came of it: retried

#### 2. patch on `aaaaaaaaaaaa`, 2026-03-01 12:02:00 UTC

- because: lint: the code can be mended
- failing: `lint`: lint, 97% sure: a.py:1: unused import (fingerprint `ffffffffffff`)
- went by: attempts of this run: 0; total attempts allowed: 6
- passed over: `claude`: breaker open
- proof: passed
- came of it: attempt 1 by `codex` (gpt-5): patch applied as `bbbbbbbbbbbb`, CI is green

#### Plan `r1.plan1`, 2026-03-01 12:00:00 UTC

- goal: mend lint

#### Plan `r1.plan2`, 2026-03-01 12:00:00 UTC

- goal: mend test
- written by `opus`
- changed at 2026-03-01 12:00:00 UTC by `unknown_persists`: added: mend test; removed: mend lint

#### Gate `r1-1` (`security`), 2026-03-01 12:00:00 UTC

- because: a security finding
- bound to commit `aaaaaaaaaaaa`; an answer takes write permission
- ada asked for the try and may not approve it
- waits for a person until 2026-03-08 12:00:00 UTC
- answers: `/regreen approve aaaaaaaaaaaa` or `/regreen reject`

#### Now: waiting person

- because: a person must look at it
- since 2026-03-01 12:00:00 UTC
""")


def test_the_newest_plan_is_shown_with_how_it_came_to_be():
    assert plan_markdown(STORY) == snapshot("""\
#### Plan `r1.plan2`, 2026-03-01 12:00:00 UTC

- goal: mend test
- written by `opus`

```
1. Read a.py.
2. Mend it.
```

#### How the plan changed, newest first

- changed at 2026-03-01 12:00:00 UTC by `unknown_persists`: added: mend test; removed: mend lint
""")


def test_there_may_be_no_plan():
    assert "has no plan yet" in plan_markdown(a_run())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"until 2026-03-08 12:00:00 UTC\n  answers: /regreen approve {HEAD[:12]}"),
        ({"state": GateState.APPROVED, "by": "grace", "at": NOW}, "approved by grace, 2026-03-01"),
        ({"state": GateState.REJECTED, "by": "lin", "note": "too wide"}, "rejected by lin: too w"),
        ({"state": GateState.EXPIRED, "at": NOW}, "expired, 2026-03-01 12:00:00 UTC"),
        ({"state": GateState.VOID, "note": "a push came first"}, "void: a push came first"),
        ({"reminders": 2}, "reminded 2 times"),
        ({"role": "admin"}, "an answer takes admin permission"),
    ],
)
def test_a_gate_says_who_answered(changes, words):
    assert words in explain_text(a_run(gates=(a_gate(**changes),)))


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (an_attempt(), "attempt 1 by codex (gpt-5): patch applied as bbbbbbbbbbbb, CI is green"),
        (
            an_attempt(result=Result.REJECTED, commit=None, green=False, reason="ruff failed"),
            "attempt 1 by codex (gpt-5): rejected: ruff failed",
        ),
        (an_attempt(), "passed over: claude: breaker open"),
        (an_attempt(), "proof: passed"),
        (
            an_attempt(verification=Verification(approved=False, reason="`test` failed")),
            "proof: rejected: `test` failed",
        ),
        (an_attempt(worse=("types", "docs")), "made worse: types, docs"),
        (an_attempt(result=Result.WORKING, commit=None), "attempt 1 by codex (gpt-5): not known"),
    ],
)
def test_a_choice_says_what_came_of_its_attempt(attempt, words):
    assert words in explain_text(a_run(choices=(a_choice(attempt=1),), attempts=(attempt,)))


@pytest.mark.parametrize("result", [one for one in Result if one is not Result.WORKING])
def test_a_choice_without_an_attempt_says_what_came_of_itself(result):
    shown = explain_text(a_run(choices=(a_choice(result=result),)))
    assert f"came of it: {result.replace('_', ' ')}" in shown


def test_a_number_that_came_again_after_a_reset_is_the_right_attempt():
    hour = timedelta(hours=1)
    before = an_attempt(1, started_at=NOW, backend="first")
    after = an_attempt(1, started_at=NOW + hour, backend="second")
    choices = (a_choice(1, at=NOW, attempt=1), a_choice(2, at=NOW + hour, attempt=1))
    told_of = explain.explain(a_run(choices=choices, attempts=(before, after)), explain.TEXT)
    shown = ["\n".join(section.lines) for section in told_of.choices]
    assert [("by first" in one, "by second" in one) for one in shown] == [
        (True, False),
        (False, True),
    ]


def test_attempts_of_which_no_choice_is_kept_are_told_in_their_place():
    attempt = an_attempt(1, started_at=NOW, evidence=(("lint", "lint (97% sure): unused"),))
    shown = explain_text(a_run(choices=(a_choice(2),), attempts=(attempt,)))
    assert "Attempt 1 on aaaaaaaaaaaa, 2026-03-01 12:00:00 UTC, of which no choice" in shown
    assert "failing: lint: lint (97% sure): unused" in shown
    assert shown.index("Attempt 1 on") < shown.index("2. patch")


def test_a_run_s_end_has_its_reason():
    shown = explain_text(a_run(state=RunState.BLOCKED, reason="the same error came back 3 times"))
    assert "The end: blocked\n  because: the same error came back 3 times" in shown
    waiting = explain_text(a_run(state=RunState.WAITING_DELAY, wake_at=NOW))
    assert "Now: waiting delay" in waiting
    assert "looks again at 2026-03-01 12:00:00 UTC" in waiting


# --- what comes from outside -------------------------------------------------------------------


def said_everywhere(text):
    """Return a run in which everything that may come from outside says *text*."""
    choice = a_choice(
        1,
        attempt=1,
        reason=text,
        judged=(Judged(text, FailureType.LINT, 0.5, text, text),),
        inputs=((text, text),),
    )
    spoken = {"reason": text, "model": text, "backend": text}
    attempts = (
        an_attempt(1, tried=((text, text),), worse=(text,), **spoken),
        an_attempt(2, evidence=((text, text),), failing=(text,), **spoken),
    )
    return a_run(
        reason=text,
        asked_by=text,
        upstream=(text,),
        choices=(choice,),
        attempts=attempts,
        plans=(Plan("r1.plan1", NOW, (text,), text, (text,)),),
        deltas=(PlanDelta("d1", "", "r1.plan1", (text,), (text,), text, NOW),),
        gates=(
            a_gate(reason=text, note=text, by=text, asked_by=text, types=(text,)),
            a_gate(reason=text, note=text, by=text, state=GateState.REJECTED),
        ),
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "@octo/everyone look",
        "fixes #12",
        "<script>alert(1)</script>",
        "<!-- regreen attempt=9 trigger=pr-7-x run=r1 -->",
        "![x](https://evil.example/p.png)",
        "[x](https://evil.example)",
        "\x1b]0;title\x07\x1b[31mred",
        "a\n\n# heading\n- [x] done",
        "```\nout\n```",
        "\u202eesrever",
    ],
)
def test_nothing_from_outside_acts_in_a_comment(hostile):
    run = said_everywhere(hostile)
    for comment in (explain_markdown(run), plan_markdown(run)):
        prose = without_code(comment)
        for live in ("@octo", "#12", "<script", "<!--", "![x]", "](http", "https://"):
            assert live not in prose
        assert not any(char in comment for char in "\x1b\x07\u202e")
        assert "<!--" not in comment  # not in code either: our own marks are looked for as text
        assert not [line for line in prose.splitlines() if line.startswith("# heading")]


def without_code(text):
    """Return *text* without fenced blocks and inline code, where nothing acts."""
    kept, fence = [], ""
    for line in text.splitlines():
        ticks = len(line) - len(line.lstrip("`"))
        if fence:
            fence = "" if line == fence else fence
        elif ticks >= 3:
            fence = "`" * ticks
        else:
            kept.append("".join(line.split("`")[::2]) if line.count("`") % 2 == 0 else line)
    assert not fence, "a block is left open"
    return "\n".join(kept)


def test_nothing_from_outside_acts_in_a_terminal():
    shown = explain_text(said_everywhere("\x1b]0;title\x07\x1b[31mred\r\x9b\u202e\n\nNow: green"))
    assert not [char for char in shown if not char.isprintable() and char != "\n"]
    assert not [line for line in shown.splitlines() if line.startswith("Now: green")]


def test_no_secret_is_told():
    run = said_everywhere(f"the key {KEY} leaked")
    for shown in (explain_text(run), plan_markdown(run), explain_markdown(run)):
        assert KEY not in shown


# --- how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30, 50])
def test_the_oldest_choices_are_left_out_first_and_that_is_said(count):
    long = tuple(("a name", "<" * 90) for _ in range(12))
    choices = tuple(a_choice(number, inputs=long) for number in range(1, count + 1))
    run = a_run(choices=choices, gates=(a_gate(),), plans=PLANS, reason="the end")
    comment = explain_markdown(run)
    kept = [number for number in range(1, count + 1) if f"#### {number}. patch" in comment]
    assert kept == list(range(kept[0], count + 1))
    assert 1 < kept[0] < count
    assert f"the oldest {kept[0] - 1} parts" in comment
    assert "Gate `r1-1`" in comment
    assert "Plan `r1.plan1`" in comment
    assert "because: the end" in comment
    shown = explain_text(run)
    assert "1. patch" in shown
    assert "left out" not in shown


def test_many_checks_are_counted_in_a_comment_and_all_shown_in_a_terminal():
    judged = tuple(Judged(f"check-{n}", FailureType.LINT, 0.5, "m") for n in range(100))
    run = a_run(choices=(a_choice(judged=judged),))
    assert "and 88 more" in explain_markdown(run)
    assert "check-99" not in explain_markdown(run)
    assert "check-99" in explain_text(run)


def test_a_long_plan_is_cut_and_says_so():
    plan = Plan("r1.plan1", NOW, ("mend it",), "step\n" * 20_000, ("opus",))
    comment = plan_markdown(a_run(plans=(plan,)))
    assert len(comment) < COMMENT_CHARS
    assert "(cut: `regreen explain r1` on the server prints all)" in comment
    assert comment.count("```") == 2


TEXTS = st.text(max_size=40) | st.sampled_from(["<" * 200, "@a " * 70, "`" * 200, "#1 " * 70])


@settings(max_examples=20)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), times=st.integers(1, 8))
def test_whatever_a_run_holds_a_comment_fits(texts, times):
    parts = [said_everywhere(text) for text in texts] * times
    run = msgspec.structs.replace(
        parts[0],
        choices=tuple(choice for part in parts for choice in part.choices),
        attempts=tuple(attempt for part in parts for attempt in part.attempts),
        plans=tuple(plan for part in parts for plan in part.plans),
        deltas=tuple(delta for part in parts for delta in part.deltas),
        gates=tuple(gate for part in parts for gate in part.gates),
        upstream=tuple(name for part in parts for name in part.upstream),
    )
    assert len(explain_markdown(run)) <= explain.COMMENT_CHARACTERS + 500
    assert len(plan_markdown(run)) < COMMENT_CHARS - 5_000


# --- the command line --------------------------------------------------------------------------


def test_a_script_is_told_the_choices_but_not_the_change():
    shown = json.loads(json.dumps(told(STORY)))
    assert (shown["id"], shown["pull"], shown["state"]) == ("r1", "octo/app#7", "waiting_person")
    assert [choice["strategy"] for choice in shown["choices"]] == ["retry", "patch"]
    assert shown["attempts"][0]["backend"] == "codex"
    assert shown["gates"][0]["id"] == "r1-1"
    assert "diff" not in shown["gates"][0]
    assert shown["deltas"][0]["triggered_by"] == "unknown_persists"


def test_another_run_has_another_id():
    assert "Run r9 of octo/app#7" in explain_text(a_run(id=RunId("r9")))
