# ruff: noqa: E501 (what people read is quoted whole)
"""A proved change waits at a gate until another person lets it out, throws it away or it is void."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from inline_snapshot import snapshot

from bot.domain.runs import Gate, GateState, RunState
from bot.repair.guard import diff_fingerprint
from tests.support.running import command
from tests.support.scenes import BROKEN, MENDED, PROVED, Bot, Pull, edit, plain
from tests.support.simulated import git

OLD, NEW = "left-pad==1.0.0", "left-pad==1.0.1"
AUDIT = """\
Found 1 known vulnerability in 1 package
Name     Version ID             Fix Versions
-------- ------- -------------- ------------
left-pad 1.0.0   CVE-2026-12345 1.0.1
"""
BUMP = edit(OLD, NEW, "requirements.txt")
WATCHED = ".github/dependabot.yml"
WATCH = edit("updates: []", "updates: [{package-ecosystem: pip}]", WATCHED)
NUMBERS = [f"number_{number} = {number}" for number in range(1_600)]
TABLE = edit("number_0 = 0", "\n".join(NUMBERS), "widgets/numbers.py")


@pytest.fixture
def hold(bot, github, model):
    """Open a pull request with a security finding, for which a proved change waits."""

    def hold(title: str = "", answer: str = BUMP) -> Pull:
        model.answers(answer, title=title)
        files = {"requirements.txt": f"{OLD}\n", WATCHED: "updates: []\n"}
        pull: Pull = github.open_pull(files, repo=PROVED, title=title)
        pull.fails("audit", AUDIT)
        return pull

    return hold


def gate(bot: Bot, pull: Pull) -> Gate:
    return bot.run(pull).gates[-1]


def pushed(pull: Pull) -> bool:
    return pull.file("requirements.txt") == f"{NEW}\n"


def reply(pull: Pull) -> str:
    return plain(pull.bodies()[-1])


@contextmanager
def set_to(bot: Bot, more: str) -> Iterator[None]:
    """Have the server use a longer configuration file for a while."""
    path = bot.server.folder / "llm_config.toml"
    before = path.read_text()
    path.write_text(before + more)
    try:
        yield
    finally:
        path.write_text(before)


def test_what_a_person_approves_is_what_was_shown(bot, hold):
    pull = hold()
    head = pull.head
    bot.settle()

    assert not pushed(pull)
    assert pull.conclusion() == "action_required"
    (told,) = pull.bodies()
    assert plain(told) == snapshot("""\
### Regreen · attempt 1: a person is needed for `audit`
<!-- regreen attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** security (N% sure): pip-audit: Found 1 known vulnerability in 1 package (`audit`)
- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1
- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests && echo proved by the base branch` passed
- 🙋 the proved change waits for an approval (security)
- 🔒 `/regreen approve SHORT` lets it out, `/regreen reject` throws it away, said by someone with write permission. Until WHEN UTC; a push voids the question.

**Cost:** N tokens in, N out, price unknown · **Time:** T s · Run `RUN`

<details><summary>The change</summary>

```diff
diff --git a/requirements.txt b/requirements.txt
index SHA..SHA 100644
--- a/requirements.txt
+++ b/requirements.txt
@@ -1 +1 @@
-left-pad==1.0.0
+left-pad==1.0.1
```

</details>

<details><summary>Proof</summary>

`python -B -m unittest discover -s tests && echo proved by the base branch` passed in T s (exit code 0)

```
$ python -B -m unittest discover -s tests && echo proved by the base branch
.
----------------------------------------------------------------------
Ran 1 test in T s

OK
proved by the base branch
```

Artifact: `ARTIFACT`

</details>

<details><summary>What the backend says</summary>

````
The sides are multiplied.

requirements.txt
```python
<<<<<<< SEARCH
left-pad==1.0.0
=======
left-pad==1.0.1
>>>>>>> REPLACE
```
````

</details>

<details><summary>Which backend, and why</summary>

- `audit` is a security finding: pip-audit: Found 1 known vulnerability in 1 package; a patch may be prepared, a person lets it out
- backend_for_failed_pr: kept as the fallback until attempt 3 has failed
- primary works: the strategy is intelligent_primary_secondary; it has the best health

</details>

<sub>`/regreen stop` stops me, `/regreen retry` tries again, `/regreen help` tells the rest.</sub>
""")

    command = pull.says(f"/regreen approve {head[:10]}", by="writer")
    bot.settle()

    assert pull.reactions(command) == ["rocket"]
    assert pull.commits()[0]["sha"] == head
    assert plain(pull.commits()[1]["message"]) == snapshot("""\
Fix audit

security (N% sure): pip-audit: Found 1 known vulnerability in 1 package

Regreen-Run: RUN
Regreen-Attempt: 1
Regreen-Approved-By: writer\
""")
    (shown,) = re.findall(r"```diff\n(.*?)```", told, re.DOTALL)
    assert diff_fingerprint(shown) == diff_fingerprint(between(pull, head))
    assert plain(pull.said()).split("<details>")[0] == snapshot("""\
### Regreen · attempt 1: `audit` green again
<!-- regreen retired attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** security (N% sure): pip-audit: Found 1 known vulnerability in 1 package (`audit`)
- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1
- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests && echo proved by the base branch` passed
- [x] **Pushed** as SHA
- [x] **CI** on the new commit
- 🔓 **Approved** by writer

**Cost:** N tokens in, N out, price unknown · **Time:** T s · Run `RUN`

""")
    assert pull.conclusion() == "success"


def between(pull: Pull, old: str) -> str:
    with pull.github.hub.state.lock:
        path = pull.github.hub.state.repos[pull.repo].git.path
        return git(path, "diff", "--full-index", old, pull.head) + "\n"


def test_whose_word_does_not_count(bot, hold):
    pull = hold()
    bot.settle()
    pull.says("/regreen fix")
    bot.settle()
    assert [gate.state for gate in bot.run(pull).gates] == [GateState.VOID, GateState.PENDING]

    refused = {}
    for who, word in {
        "owner": "/regreen approve",
        "reader": "/regreen approve",
        "writer": f"/regreen approve {'d' * 40}",
    }.items():
        given = pull.says(word, by=who)
        bot.settle()
        refused[who] = (*pull.reactions(given), reply(pull) if who != "reader" else "")

    assert refused == snapshot(
        {
            "owner": (
                "confused",
                """\
Nothing was approved or rejected: whoever asked for the try may not approve it; another person must.

<!-- regreen reply to=N -->\
""",
            ),
            "reader": ("-1", ""),
            "writer": (
                "confused",
                """\
Nothing was approved or rejected: the change waits on SHORT, not on SHA.

<!-- regreen reply to=N -->\
""",
            ),
        }
    )
    assert gate(bot, pull).state is GateState.PENDING
    assert not pushed(pull)

    pull.says("/regreen reject", by="owner")  # to say no, one may have asked
    bot.settle()
    assert gate(bot, pull).state is GateState.REJECTED


def test_a_push_voids_the_question(bot, hold):
    pull = hold()
    bot.settle()
    asked = gate(bot, pull)
    pull.push({"README.md": "# Meanwhile\n"})
    bot.settle()
    given = pull.says(f"/regreen approve {asked.head}", by="writer")
    bot.settle()

    assert bot.run(pull).state is RunState.SUPERSEDED
    assert gate(bot, pull).state is GateState.VOID
    assert pull.reactions(given) == ["confused"]
    assert reply(pull) == snapshot("""\
Nothing was approved or rejected: no change waits for an approval.

<!-- regreen reply to=N -->\
""")
    assert [line for line in pull.said().splitlines() if "🔓" in line] == snapshot([])
    assert not pushed(pull)


def test_a_person_rejects_with_a_reason(bot, hold):
    pull = hold()
    bot.settle()
    given = pull.says("/regreen reject 1.0.1 has no wheels, see @ops", by="writer")
    bot.settle()

    assert pull.reactions(given) == ["+1"]
    assert not pushed(pull)
    run = bot.run(pull)
    assert (run.state, run.gates[0].by, run.gates[0].note) == (
        RunState.GAVE_UP,
        "writer",
        "1.0.1 has no wheels, see @ops",
    )
    assert plain(pull.said()).split("<details>")[0] == snapshot("""\
### Regreen · attempt 1: giving up on `audit`
<!-- regreen attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** security (N% sure): pip-audit: Found 1 known vulnerability in 1 package (`audit`)
- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1
- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests && echo proved by the base branch` passed
- ❌ writer rejected the change: 1.0.1 has no wheels, see @\u200bops

**Cost:** N tokens in, N out, price unknown · **Time:** T s · Run `RUN`

""")


def test_the_buttons_of_the_check_run_answer_too(bot, github, model, hold):
    yes, no = hold(f"{model.story} yes"), hold(f"{model.story} no")
    bot.settle()
    yes.press("Approve", by="reader")
    bot.settle()
    assert gate(bot, yes).state is GateState.PENDING

    red = yes.head
    for _ in range(2):
        yes.press("Approve", by="writer")
    no.press("Reject", by="writer")
    bot.settle()

    assert (pushed(yes), pushed(no)) == (True, False)
    assert len(yes.commits()) == 2
    assert (yes.conclusion(red), yes.conclusion()) == ("neutral", "success")
    assert [gate(bot, pull).state for pull in (yes, no)] == ["approved", "rejected"]
    assert bot.run(no).reason == "writer rejected the change"


def test_the_api_answers_too(bot, model, hold):
    yes, no = hold(f"{model.story} yes"), hold(f"{model.story} no", WATCH)
    bot.settle()
    assert gate(bot, no).types == ("security", "protected_path")
    asked = gate(bot, yes)
    approve = f"/api/meta/v3/approvals/{asked.id}/approve"
    answer = {"approver": "writer", "sha": asked.head, "reason": "looked at"}

    codes = [
        bot.api(approve, answer, token="no token").status_code,
        bot.api(approve, b"").status_code,
        bot.api(approve, {}).status_code,
        bot.api(approve, {**answer, "sha": "d" * 40}).status_code,
        bot.api(approve.replace(asked.id, "none"), answer).status_code,
    ]
    assert codes == [401, 400, 400, 409, 404]
    assert bot.api(approve, {**answer, "approver": "reader"}).status_code == 202
    bot.settle()
    assert gate(bot, yes).state is GateState.PENDING

    assert bot.api(approve, answer).json() == {"gate_id": asked.id, "status": "accepted"}
    reject = f"/api/meta/v3/approvals/{gate(bot, no).id}/reject"
    assert bot.api(reject, {"approver": "owner", "reason": "not now"}).status_code == 202
    bot.settle()

    assert (pushed(yes), pushed(no)) == (True, False)
    assert "Regreen-Approved-By: writer" in yes.commits()[-1]["message"]
    assert bot.run(no).reason == "owner rejected the change: not now"
    late = bot.api(approve, answer)
    assert (late.status_code, late.json()["state"]) == (409, "approved")

    retry = f"/api/meta/v3/runs/{bot.run(no).id}/retry"
    assert bot.api(retry, {"requested_by": "writer"}).status_code == 202
    bot.settle()
    again = gate(bot, no)
    assert (again.state, again.asked_by) == (GateState.PENDING, "writer")
    approve = f"/api/meta/v3/approvals/{again.id}/approve"
    assert bot.api(approve, {**answer, "sha": again.head}).status_code == 403


def test_it_reminds_once_and_then_gives_up(bot, hold):
    with set_to(bot, "\n[approvals]\nremind_s = 1\nexpire_s = 5\n"):
        pull = hold()
        bot.settle()

    run = bot.run(pull)
    assert (run.state, run.gates[0].state) == (RunState.GAVE_UP, GateState.EXPIRED)
    assert run.gates[0].reminders == 1
    attempt, reminder = pull.bodies()
    assert plain(attempt).split("<details>")[0] == snapshot("""\
### Regreen · attempt 1: giving up on `audit`
<!-- regreen attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** security (N% sure): pip-audit: Found 1 known vulnerability in 1 package (`audit`)
- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1
- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests && echo proved by the base branch` passed
- ❌ nobody approved the change until WHEN UTC

**Cost:** N tokens in, N out, price unknown · **Time:** T s · Run `RUN`

""")
    assert plain(reminder) == snapshot("""\
### Regreen: a proved change still waits for an approval (security)
<!-- regreen reminder gate=RUN-1 -->

`/regreen approve SHORT` lets it out, `/regreen reject` throws it away, said by someone with write permission. Until WHEN UTC; a push voids the question.

<sub>Run `RUN`.</sub>
""")
    assert not pushed(pull)


def test_a_change_that_is_too_large_waits_and_is_pushed_whole(bot, github, model):
    model.answers(TABLE)
    pull = github.open_pull({"widgets/numbers.py": "number_0 = 0\n"}, repo=PROVED)
    pull.fails("audit", AUDIT)
    bot.settle()

    asked = gate(bot, pull)
    assert asked.types == ("security", "oversized")
    (told,) = pull.bodies()
    run = bot.run(pull).id
    assert f"(cut: the rest is shown by `regreen runs diff {run}`)" in told
    assert command(bot.server, "runs", "diff", run).strip() == asked.diff.strip()

    pull.says("/regreen approve", by="writer")
    bot.settle()
    assert pull.file("widgets/numbers.py") == "\n".join([*NUMBERS, ""])


def test_a_fork_is_let_in_by_an_approval_of_its_commit(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, fork=True)
    red = pull.head
    bot.settle()
    given = [pull.says(f"/regreen approve {'d' * 40}", by="writer")]
    bot.settle()
    assert model.calls == []

    given.append(pull.says(f"/regreen approve {red}", by="writer"))
    bot.settle()

    assert [pull.reactions(one) for one in given] == [["confused"], ["rocket"]]
    assert pull.head == red
    assert pull.attempts() == [
        "### Regreen · attempt 1: a verified fix for `test`, for you to apply"
    ]
