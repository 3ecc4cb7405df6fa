# ruff: noqa: E501 (what people read is quoted whole)
"""Red pull requests that become green without a person."""

import pytest
from inline_snapshot import snapshot

from tests.support.scenes import (
    AREA,
    BROKEN,
    FLAKY,
    MENDED,
    PROVED,
    REPO,
    TIDY,
    UNLINTED,
    a_try,
    edit,
    plain,
)

ANY_DATABASE = pytest.mark.parametrize("the_stage", ["usual", "postgres"], indirect=True)
DIFF = """\
Here is the mend.

```diff
--- a/widgets/area.py
+++ b/widgets/area.py
@@ -3,4 +3,4 @@

 def area(side: int) -> int:
     \"""Return the area of a square widget.\"""
-    return side + side
+    return side * side
```
"""


def test_a_mend_is_counted_once_and_audited(bot, github, model):
    counted = 'autofix_attempts_total{outcome="patch_applied",signal_type="lint"}'
    before = bot.metric(counted)
    pull = github.open_pull(UNLINTED)
    bot.settle()

    assert bot.metric(counted) == before + 1
    assert bot.metric('autofix_processing_seconds_count{operation_type="Verify"}') >= 1
    (run,) = bot.server.rows(
        f"SELECT id FROM runs WHERE number = {pull.number} AND repo = '{REPO}'"
    )
    rows = bot.server.rows(f"SELECT kind FROM audit WHERE subject = '{run.id}' ORDER BY id")
    assert [row.kind for row in rows] == snapshot(
        ["autofix.classified", "autofix.patch_applied", "run.waiting_ci", "run.green"]
    )


@ANY_DATABASE
def test_a_lint_failure_is_mended_by_the_fixers(bot, github, model):
    pull = github.open_pull(UNLINTED)
    red = pull.head
    bot.settle()

    assert "import os" not in pull.file()
    assert model.calls == []
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
### Regreen · attempt 1: `lint` green again
<!-- regreen retired attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** lint (N% sure): ruff: F401 [*] `os` imported but unused (`lint`)
- [x] **Mended** by `fixers`: 1 file, +0 -1
- [x] **Proved** in a fresh tree (sandbox): `ruff check --no-cache .` passed
- [x] **Pushed** as SHA
- [x] **CI** on the new commit

**Cost:** no model was asked · **Time:** T s · Run `RUN`

<details><summary>The change</summary>

```diff
diff --git a/widgets/area.py b/widgets/area.py
index SHA..SHA 100644
--- a/widgets/area.py
+++ b/widgets/area.py
@@ -1,4 +1,3 @@
-import os
 \n\
 \n\
 def area(side: int) -> int:
```

</details>

<details><summary>Proof</summary>

`ruff check --no-cache .` passed in T s (exit code 0)

```
$ ruff check --no-cache .
All checks passed!
```

Artifact: `ARTIFACT`

</details>

<details><summary>What the backend says</summary>

```
Ran `ruff check --fix`.
```

</details>

<details><summary>Which backend, and why</summary>

- lint: the code can be mended
- backend_for_failed_pr: kept as the fallback until attempt 3 has failed

</details>

<sub>`/regreen stop` stops me, `/regreen retry` tries again, `/regreen help` tells the rest.</sub>
"""
        ]
    )

    commit = pull.commits()[-1]
    assert commit["author"] == "regreen[bot]"
    assert plain(commit["message"]) == snapshot("""\
Fix lint

lint (N% sure): ruff: F401 [*] `os` imported but unused

Regreen-Run: RUN
Regreen-Attempt: 1\
""")

    assert pull.conclusion(red) == "neutral"
    assert pull.card(red)["output"]["title"].startswith("Pushed a fix as ")
    assert pull.card(red)["output"]["annotations_count"] == 1
    assert pull.conclusion() == "success"


@ANY_DATABASE
def test_a_failing_test_is_mended_by_the_primary_model(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert pull.file() == AREA
    assert model.asked == ["scripted-primary"]
    assert pull.conclusion() == "success"
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            '''\
### Regreen · attempt 1: `test` green again
<!-- regreen retired attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three) (`test`)
- [x] **Mended** by `primary` (scripted-primary): 1 file, +1 -1
- [x] **Proved** in a fresh tree (sandbox): `python -B -m unittest discover -s tests`, `python -B fetch.py` passed
- [x] **Pushed** as SHA
- [x] **CI** on the new commit

**Cost:** N tokens in, N out, price unknown · **Time:** T s · Run `RUN`

<details><summary>The change</summary>

```diff
diff --git a/widgets/area.py b/widgets/area.py
index SHA..SHA 100644
--- a/widgets/area.py
+++ b/widgets/area.py
@@ -3,4 +3,4 @@
 \n\
 def area(side: int) -> int:
     """Return the area of a square widget."""
-    return side + side
+    return side * side
```

</details>

<details><summary>Proof</summary>

`python -B -m unittest discover -s tests` passed in T s (exit code 0)

```
$ python -B -m unittest discover -s tests
.
----------------------------------------------------------------------
Ran 1 test in T s

OK
```

`python -B fetch.py` passed in T s (exit code 0)

```
$ python -B fetch.py
nothing to fetch
```

Artifact: `ARTIFACT`

</details>

<details><summary>What the backend says</summary>

````
The sides are multiplied.

widgets/area.py
```python
<<<<<<< SEARCH
    return side + side
=======
    return side * side
>>>>>>> REPLACE
```
````

</details>

<details><summary>Which backend, and why</summary>

- test_assert: the code can be mended
- backend_for_failed_pr: kept as the fallback until attempt 3 has failed

</details>

<sub>`/regreen stop` stops me, `/regreen retry` tries again, `/regreen help` tells the rest.</sub>
'''
        ]
    )


def test_what_the_fixers_leave_is_for_the_model(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull({"widgets/area.py": "import os\n" + BROKEN["widgets/area.py"]})
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == snapshot(["### Regreen · attempt 1: `test`, `lint` green again"])
    assert pull.conclusion() == "success"


def test_a_unified_diff_is_as_good_an_answer(bot, github, model):
    model.answers(DIFF)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == snapshot(["### Regreen · attempt 1: `test` green again"])


def test_an_answer_that_is_no_patch_fails_the_attempt_and_says_why(bot, github, model):
    poem = "I would rather write a poem."
    model.answers(poem, poem, MENDED)  # it is asked once more
    pull = github.open_pull(BROKEN)
    bot.settle()

    first, second = pull.bodies()
    assert [plain(line) for line in first.splitlines() if line.startswith("- ")] == snapshot(
        [
            "- [x] **Why:** test_assert (N% sure): unittest: 1 test failed, first test_a_square_of_three (test_area.AreaTest.test_a_square_of_three) (`test`)",
            "- ⏭️ `primary`: invalid: the answer holds no patch",
            "- ❌ no usable change: invalid: the answer holds no patch",
            "- test_assert: the code can be mended",
            "- backend_for_failed_pr: kept as the fallback until attempt 3 has failed",
        ]
    )
    assert "pushed a fix" in second or "green again" in second
    assert pull.file() == AREA


def test_what_was_tried_before_is_told_to_the_model(bot, github, model):
    model.answers(a_try(1), MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert "return side + side + 11" in model.calls[1].prompt
    assert pull.conclusion() == "success"
    assert pull.attempts() == snapshot(
        [
            "### Regreen · attempt 1: no fix for `test` yet",
            "### Regreen · attempt 2: `test` green again",
        ]
    )


def test_two_pull_requests_at_once_do_not_mix(bot, github, model):
    model.answers(MENDED, title=f"{model.story} one")
    model.answers(edit("    return side + side", "    return side**2"), title=f"{model.story} two")
    one = github.open_pull(BROKEN, title=f"{model.story} one")
    two = github.open_pull(BROKEN, title=f"{model.story} two")
    bot.settle()

    assert "side * side" in one.file()
    assert "side**2" in two.file()
    assert len(one.bodies()) == len(two.bodies()) == 1
    assert f"trigger=pr-{one.number}-" in one.said()
    assert f"trigger=pr-{two.number}-" in two.said()


def test_another_apps_check_run_is_a_failure_too(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull({**BROKEN, ".github/workflows/ci.yml": None}, repo=PROVED)
    github.sim.finish_check(
        PROVED,
        pull.head,
        "other tests",
        "failure",
        title="1 test failed",
        summary="FAIL: test_a_square_of_three\nAssertionError: 6 != 9",
        annotations=[
            {
                "path": "widgets/area.py",
                "start_line": 6,
                "end_line": 6,
                "annotation_level": "failure",
                "message": "AssertionError: 6 != 9",
            }
        ],
    )
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == snapshot(
        ["### Regreen · attempt 1: pushed a fix for `other tests`, CI is running"]
    )


def test_a_commit_status_of_another_ci_is_a_failure_too(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull({**BROKEN, ".github/workflows/ci.yml": None}, repo=PROVED)
    github.sim.status(
        PROVED, pull.head, "ci/elsewhere", "failure", description="AssertionError: 6 != 9"
    )
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == snapshot(
        ["### Regreen · attempt 1: pushed a fix for `ci/elsewhere`, CI is running"]
    )

    github.sim.status(PROVED, pull.head, "ci/elsewhere", "success", description="all pass")
    bot.settle()

    assert pull.conclusion() == "success"


def test_a_failure_of_the_network_is_met_by_a_re_run(bot, github, model):
    pull = github.open_pull(FLAKY)
    head = pull.head
    bot.settle()

    assert pull.head == head
    assert model.calls == []
    assert pull.attempts() == []
    assert pull.conclusion() == "success"
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
### Regreen: green again
<!-- regreen notice run=RUN -->

Green again without a change to the code: the failed jobs passed when they ran again (re-run 1).

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )


def test_a_machine_that_fails_thrice_asks_a_person(bot, github, model):
    pull = github.open_pull(TIDY)
    head = pull.head
    github.sim.fail_check(pull.repo, pull.number, "build", "write error: No space left on device")
    bot.settle()

    assert pull.head == head
    assert model.calls == []
    assert pull.conclusion() == "action_required"
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
### Regreen: a person is needed
<!-- regreen notice run=RUN -->

`build` failed again after 2 re-runs (infra): the machine or the service around the job failed: write error: No space left on device

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )


AUDIT = """\
found 3 vulnerabilities (1 high)
CVE-2026-12345 in left-pad 1.0.0: critical severity
"""


def test_a_security_finding_that_nothing_can_prove_mended_asks_a_person(bot, github, model):
    pull = github.open_pull(TIDY)
    github.sim.fail_check(pull.repo, pull.number, "audit", AUDIT)
    bot.settle()

    assert model.calls == []
    assert pull.conclusion() == "action_required"
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
### Regreen · attempt 1: a person is needed for `audit`
<!-- regreen attempt=1 trigger=pr-N-HEAD run=RUN -->

- [x] **Why:** security (N% sure): a security check found something: CVE-2026-12345 in left-pad 1.0.0: critical severity (`audit`)
- 🙋 no command is known that could prove a mend: name one under [commands] in .github/regreen.toml on the base branch

**Cost:** no model was asked · **Time:** T s · Run `RUN`

<details><summary>Which backend, and why</summary>

- `audit` is a security finding: a security check found something: CVE-2026-12345 in left-pad 1.0.0: critical severity; a patch may be prepared, a person lets it out
- backend_for_failed_pr: kept as the fallback until attempt 3 has failed

</details>

<sub>`/regreen stop` stops me, `/regreen retry` tries again, `/regreen help` tells the rest.</sub>
"""
        ]
    )


def test_a_green_pull_request_is_left_alone(bot, github, model):
    pull = github.open_pull(TIDY)
    bot.settle()

    assert pull.bodies() == []
    assert pull.cards() == []
