"""The runner of the simulated GitHub: workflow files, expressions, and real commands."""

import contextlib
import os
import re
import textwrap
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.simulator.actions import (
    Inputs,
    JobResult,
    JobSpec,
    WorkflowError,
    jobs_of,
    run_job,
    should_run,
)
from bot.simulator.expressions import ExpressionError, Scope, evaluate, fill, holds

ENV = {
    "PATH": os.defpath,
    "GITHUB_SHA": "c0ffee",
    "GITHUB_REF_NAME": "topic",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_EVENT_NAME": "pull_request",
}


def job(steps: str, *, extra: str = "", on: str = "pull_request") -> JobSpec:
    body = textwrap.indent(textwrap.dedent(steps).strip(), "      ")
    head = textwrap.indent(textwrap.dedent(extra).strip(), "    ")
    text = f"name: CI\non: {on}\njobs:\n  test:\n{head}\n    steps:\n{body}\n"
    (only,) = jobs_of(text, "pull_request")
    return only


def run(tmp_path: Path, spec: JobSpec, stopped=lambda: False, inputs=None) -> JobResult:
    return run_job(spec, tmp_path, env=ENV, stopped=stopped, inputs=inputs)


def lines(result: JobResult) -> list[str]:
    """Return the log without its time stamps."""
    return [line[29:] for line in result.log.decode().splitlines()]


def ends(result: JobResult) -> list[str]:
    return [step.conclusion for step in result.steps]


TRIGGERS = [
    pytest.param("on: push", "push", {}, True, id="one word"),
    pytest.param("on: push", "pull_request", {}, False, id="another word"),
    pytest.param("on: [push, pull_request]", "pull_request", {}, True, id="list"),
    pytest.param("on:\n  pull_request:", "pull_request", {}, True, id="empty map"),
    pytest.param("'on': {push: {}}", "push", {}, True, id="quoted"),
    pytest.param("on: {schedule: []}", "push", {}, False, id="schedule only"),
    pytest.param(
        "on: {push: {branches: [main]}}", "push", {"branch": "topic"}, False, id="other branch"
    ),
    pytest.param(
        "on: {push: {branches: ['rel/**', '!rel/old']}}",
        "push",
        {"branch": "rel/a/b"},
        True,
        id="branch pattern",
    ),
    pytest.param(
        "on: {push: {branches: ['rel/**', '!rel/old']}}",
        "push",
        {"branch": "rel/old"},
        False,
        id="branch taken back",
    ),
    pytest.param(
        "on: {push: {branches-ignore: [main]}}", "push", {"branch": "main"}, False, id="ignored"
    ),
    pytest.param("on: {push: {tags: ['v*']}}", "push", {"branch": "main"}, False, id="tags only"),
    pytest.param(
        "on: pull_request", "pull_request", {"action": "labeled"}, True, id="one word any"
    ),
    pytest.param(
        "on: {pull_request: {}}", "pull_request", {"action": "labeled"}, False, id="default types"
    ),
    pytest.param(
        "on: {pull_request: {types: [labeled]}}",
        "pull_request",
        {"action": "labeled"},
        True,
        id="own types",
    ),
    pytest.param(
        "on: {push: {paths: ['src/**.py']}}", "push", {"paths": ["docs/a.md"]}, False, id="paths"
    ),
    pytest.param(
        "on: {push: {paths-ignore: ['docs/**']}}",
        "push",
        {"paths": ["docs/a.md"]},
        False,
        id="paths ignored",
    ),
]


@pytest.mark.parametrize(("on", "event", "told", "starts"), TRIGGERS)
def test_what_starts_a_workflow(on, event, told, starts):
    text = f"{on}\njobs: {{a: {{runs-on: x, steps: [{{run: 'true'}}]}}}}"
    assert bool(jobs_of(text, event, **told)) is starts


MISTAKES = [
    pytest.param("on: push\njobs:\n  a: [", "not valid YAML on line", id="yaml"),
    pytest.param("jobs: {}", "`on` is missing", id="no trigger"),
    pytest.param("on: push", "`jobs` must be a mapping", id="no jobs"),
    pytest.param("on: push\njobs: {a: {}}", "`a` has no steps", id="no steps"),
    pytest.param("on: push\njobs: {a: {steps: [{name: x}]}}", "`run` or `uses`", id="empty step"),
    pytest.param(
        "on: push\njobs: {a: {needs: b, steps: [{run: x}]}}", "needs `b`, which", id="no such need"
    ),
    pytest.param(
        "on: push\njobs: {a: {needs: b, steps: [{run: x}]}, b: {needs: a, steps: [{run: x}]}}",
        "in a circle",
        id="circle",
    ),
    pytest.param("on: push\njobs: {a: {uses: ./x.yml}}", "reusable workflow", id="reusable"),
    pytest.param("- a", "The workflow must be a mapping", id="list"),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_a_broken_workflow_says_what_is_wrong(text, sentence):
    with pytest.raises(WorkflowError, match=re.escape(sentence)):
        jobs_of(text, "push")


def test_jobs_come_after_those_they_need():
    text = "on: push\njobs: {b: {needs: [a], steps: [{run: x}]}, a: {steps: [{run: x}]}}"
    assert [job.id for job in jobs_of(text, "push")] == ["a", "b"]


def test_a_matrix_makes_one_job_for_each_combination():
    text = """
    on: push
    jobs:
      t:
        strategy:
          matrix:
            py: ["3.11", "3.12"]
            os: [linux, mac]
            exclude: [{py: "3.11", os: mac}]
            include: [{py: "3.12", os: linux, slow: true}, {py: "3.13", os: bsd}]
        steps: [{run: x}]
    """
    assert [job.name for job in jobs_of(text, "push")] == [
        "t (3.11, linux)",
        "t (3.12, linux, true)",
        "t (3.12, mac)",
        "t (3.13, bsd)",
    ]


def test_a_matrix_job_may_name_itself():
    text = """
    on: push
    jobs: {t: {name: "py ${{ matrix.py }}", strategy: {matrix: {py: [3.11]}}, steps: [{run: x}]}}
    """
    assert [job.name for job in jobs_of(text, "push")] == ["py 3.11"]


SCOPE = Scope(
    {
        "github": {"sha": "abc", "ref": "refs/heads/main", "event": {"n": 3.0}},
        "matrix": {"os": "Linux", "list": ["a", "b"]},
    }
)
VALUES = [
    pytest.param("github.sha", "abc", id="context"),
    pytest.param("github['sha']", "abc", id="index"),
    pytest.param("matrix.list[1]", "b", id="list index"),
    pytest.param("github.missing.deeper", None, id="missing is empty"),
    pytest.param("matrix.os == 'linux'", True, id="case is ignored"),
    pytest.param("github.event.n > 2 && !false", True, id="and, not"),
    pytest.param("'' || 'other'", "other", id="or gives the value"),
    pytest.param("1 == '1'", True, id="numbers"),
    pytest.param("contains(github.ref, 'MAIN')", True, id="contains"),
    pytest.param("contains(matrix.list, 'b')", True, id="contains in list"),
    pytest.param("startsWith(github.ref, 'refs/heads/')", True, id="startsWith"),
    pytest.param("format('{0}-{1}', 'a', 2)", "a-2", id="format"),
    pytest.param("join(matrix.list, '+')", "a+b", id="join"),
    pytest.param("'it''s'", "it's", id="quote"),
    pytest.param("(1 < 2) != true", False, id="brackets"),
    pytest.param("fromJSON('[1, 2]')[0]", 1, id="fromJSON"),
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_an_expression_has_its_value(source, value):
    assert evaluate(source, SCOPE) == value


@pytest.mark.parametrize(
    "source",
    ["unknown.x", "hashFiles('a')", "1 +", "github.", "(1", "'open", "1 2", "contains('a')"],
)
def test_an_unknown_expression_is_an_error(source):
    with pytest.raises(ExpressionError):
        evaluate(source, SCOPE)


@given(st.text())
def test_any_text_is_a_value_or_an_expression_error(source):
    try:
        evaluate(source, SCOPE)
    except ExpressionError:
        return


@pytest.mark.parametrize(
    ("condition", "status", "runs"),
    [
        pytest.param("", "success", True, id="nothing said"),
        pytest.param("", "failure", False, id="nothing said, after a failure"),
        pytest.param("always()", "failure", True, id="always"),
        pytest.param("failure()", "success", False, id="failure, but none"),
        pytest.param("${{ failure() }}", "failure", True, id="failure"),
        pytest.param("matrix.os == 'mac'", "success", False, id="condition"),
        pytest.param("matrix.os == 'linux'", "failure", False, id="condition after a failure"),
        pytest.param("!cancelled()", "failure", True, id="not cancelled"),
    ],
)
def test_when_a_step_runs(condition, status, runs):
    assert holds(condition, Scope(SCOPE.contexts, status)) is runs


def test_values_are_filled_in():
    assert fill("a ${{ github.sha }} ${{ 3 }} ${{ github.none }}b", SCOPE) == "a abc 3 b"


@pytest.mark.parametrize(
    ("condition", "end", "runs"),
    [
        pytest.param("", "success", True, id="after success"),
        pytest.param("", "failure", False, id="after failure"),
        pytest.param("", "skipped", False, id="after skipped"),
        pytest.param("always()", "failure", True, id="always"),
        pytest.param("needs.a.result == 'success'", "success", True, id="result"),
    ],
)
def test_when_a_job_runs(condition, end, runs):
    text = f'on: push\njobs: {{a: {{steps: [{{run: x}}]}}, b: {{needs: a, if: "{condition}", '
    _, second = jobs_of(text + "steps: [{run: x}]}}", "push")
    assert should_run(second, {"a": end}, ENV) is runs


def test_the_log_reads_like_githubs(tmp_path):
    result = run(tmp_path, job("- run: |\n    echo hello\n    exit 3\n  env: {A: b}"))
    start = next(at for at, line in enumerate(lines(result)) if line == "##[group]Run echo hello")
    assert lines(result)[start:-1] == [
        "##[group]Run echo hello",
        "\x1b[36;1mecho hello\x1b[0m",
        "\x1b[36;1mexit 3\x1b[0m",
        "shell: bash -e {0}",
        "env:",
        "  A: b",
        "##[endgroup]",
        "hello",
        "##[error]Process completed with exit code 3.",
    ]
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z ")
    assert all(stamp.match(line) for line in result.log.decode().splitlines())


def test_steps_after_a_failure_are_skipped_unless_they_ask(tmp_path):
    steps = """
    - run: 'false'
    - run: touch never
    - run: touch cleanup
      if: always()
    - run: touch report
      if: failure()
    """
    result = run(tmp_path, job(steps))
    assert result.conclusion == "failure"
    assert ends(result) == ["success", "failure", "skipped", "success", "success", "success"]
    assert [step.name for step in result.steps][:2] == ["Set up job", "Run false"]
    assert [step.number for step in result.steps] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cleanup", "report"]


def test_a_forgiven_failure_leaves_the_job_green(tmp_path):
    steps = """
    - run: exit 1
      id: first
      continue-on-error: true
    - run: echo "it was ${{ steps.first.outcome }}, ${{ steps.first.conclusion }}"
    """
    result = run(tmp_path, job(steps))
    assert result.conclusion == "success"
    assert "it was failure, success" in lines(result)


def test_environment_folders_and_shells(tmp_path):
    (tmp_path / "sub").mkdir()
    extra = """
    env: {A: job, B: "${{ matrix.v }}"}
    defaults: {run: {working-directory: sub}}
    strategy: {matrix: {v: [7]}}
    """
    steps = """
    - run: echo "$A $B $C $PWD"
      env: {C: step}
    - run: import sys; print(sys.version_info.major, "${{ env.A }}")
      shell: python
      working-directory: .
    - run: echo "$0" | grep -c sh
      shell: sh
    - run: set -o | grep pipefail
      shell: bash
    """
    spec = job(steps.replace("shell: python", "shell: python3 {0}"), extra=extra)
    result = run(tmp_path, spec)
    assert result.conclusion == "success", result.log.decode()
    said = [" ".join(line.split()) for line in lines(result)]
    assert {f"job 7 step {tmp_path}/sub", "3 job", "pipefail on"} <= set(said)


def test_the_environment_is_clean_but_for_githubs_own(tmp_path):
    result = run(tmp_path, job("- run: env -0 | sort -z | tr '\\0' '\\n'"))
    names = {line.partition("=")[0] for line in lines(result) if "=" in line}
    assert {"CI", "HOME", "GITHUB_SHA", "GITHUB_RUN_ATTEMPT", "GITHUB_WORKSPACE"} <= names
    unexpected = {name for name in names if not name.startswith(("GITHUB_", "RUNNER_"))}
    assert unexpected == {"CI", "HOME", "LANG", "PATH", "PWD", "SHLVL", "TMPDIR", "_"}


def test_expressions_of_the_run_are_known(tmp_path):
    text = "- run: echo ${{ github.sha }} ${{ github.ref_name }} attempt ${{ github.run_attempt }}"
    assert "c0ffee topic attempt 2" in lines(run(tmp_path, job(text)))


def test_an_unknown_expression_fails_its_step(tmp_path):
    result = run(tmp_path, job("- run: echo ${{ hashFiles('x') }}"))
    assert ends(result) == ["success", "failure", "success"]
    assert any(line.startswith("##[error]") and "hashFiles" in line for line in lines(result))


def test_steps_hand_on_variables_outputs_and_paths(tmp_path):
    steps = """
    - id: make
      run: |
        echo "V=one" >> "$GITHUB_ENV"
        printf 'W<<END\\ntwo\\nlines\\nEND\\n' >> "$GITHUB_ENV"
        echo "out=three" >> "$GITHUB_OUTPUT"
        mkdir bin; printf '#!/bin/sh\\necho four\\n' > bin/tool; chmod +x bin/tool
        echo "$PWD/bin" >> "$GITHUB_PATH"
    - run: echo "$V $W ${{ steps.make.outputs.out }} $(tool)" | tr '\\n' ' '
    """
    assert "one two lines three four " in lines(run(tmp_path, job(steps)))


def test_actions_stand_in_and_say_for_what(tmp_path):
    steps = """
    - uses: actions/checkout@v4
    - uses: actions/setup-python@v5
      with: {python-version: "3.11"}
    - uses: someone/else@v1
    """
    result = run(tmp_path, job(steps))
    assert ends(result) == ["success"] * 5
    assert "The commit is already checked out in the workspace." in lines(result)
    assert "##[warning]The action someone/else does not run here; it is passed over." in lines(
        result
    )


def test_what_a_step_annotates_is_kept(tmp_path):
    result = run(tmp_path, job("- run: echo '::error file=a.py,line=3::wrong%0Athere'"))
    (note,) = result.annotations
    assert (note.level, note.path, note.line, note.message) == (
        "failure",
        "a.py",
        3,
        "wrong\nthere",
    )
    assert "##[error]wrong" in lines(result)


def test_secrets_are_masked(tmp_path):
    inputs = Inputs(secrets={"KEY": "hush-hush"})
    result = run(tmp_path, job("- run: echo got ${{ secrets.KEY }}"), inputs=inputs)
    assert "got ***" in lines(result)
    assert b"hush-hush" not in result.log


def test_a_step_that_takes_too_long_is_killed_with_its_children(tmp_path):
    steps = "- run: |\n    sleep 300 & echo $! > child\n    wait\n  timeout-minutes: 0.01"
    result = run(tmp_path, job(steps))
    assert ends(result) == ["success", "failure", "success"]
    assert any("has timed out after 0.01 minutes" in line for line in lines(result))
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int((tmp_path / "child").read_text())).wait(20)


def test_a_job_that_takes_too_long_is_cancelled(tmp_path):
    result = run(tmp_path, job("- run: sleep 300", extra="timeout-minutes: 0.01"))
    assert result.conclusion == "cancelled"
    assert any("maximum execution time of 0.01 minutes" in line for line in lines(result))


def test_a_stopped_job_is_cancelled_and_runs_nothing_more(tmp_path):
    spec = job("- run: touch begun; sleep 300\n- run: touch more\n  if: always()")
    result = run(tmp_path, spec, stopped=(tmp_path / "begun").exists)
    assert result.conclusion == "cancelled"
    assert ends(result) == ["success", "cancelled", "skipped", "success"]
    assert "##[error]The operation was canceled." in lines(result)


def test_the_log_is_capped(tmp_path):
    result = run(tmp_path, job("- run: yes 'a long line of output' | head -c 20000000"))
    assert len(result.log) < 17 * 1024 * 1024
    assert b"The log ends here" in result.log


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        pytest.param("- {run: x, working-directory: none}", "No such directory", id="directory"),
        pytest.param("- {run: x, shell: pwsh}", "No shell: pwsh", id="shell"),
        pytest.param("- {run: x, shell: 'nosuch {0}'}", "exit code 127", id="program"),
        pytest.param("- {run: kill -9 $$}", "exit code 137", id="killed"),
    ],
)
def test_a_step_that_cannot_run_says_so(tmp_path, step, sentence):
    result = run(tmp_path, job(step))
    assert result.conclusion == "failure"
    assert any(line.startswith("##[error]") and sentence in line for line in lines(result))
