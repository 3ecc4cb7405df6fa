"""Which commands of a workflow file prove a mend."""

import pytest

from bot.repair.steps import run_lines

WORKFLOW = """\
name: CI
on: [pull_request]
env:
  MODE: strict
  TOKEN: ${{ secrets.TOKEN }}
jobs:
  checks:
    name: All checks
    defaults:
      run:
        working-directory: my app
    env: {JOBS: 2, FLAG: true}
    steps:
      - uses: actions/checkout@v4
      - name: Install
        run: pip install .
      - run: ruff check .
      - name: Test
        env: {PYTHONPATH: src}
        run: |
          pytest -q
          pytest -q docs
      - name: Publish
        run: twine upload -p ${{ secrets.KEY }}
      - name: Windows
        shell: pwsh
        run: dir
  docs:
    steps:
      - run: make docs
"""
SHARED = "export MODE=strict\nexport JOBS=2\nexport FLAG=true\n"


@pytest.mark.parametrize(
    ("job", "failed", "expected"),
    [
        pytest.param("docs", ["Run make docs"], ("export MODE=strict\nmake docs",), id="by key"),
        pytest.param("caller / docs", [], ("export MODE=strict\nmake docs",), id="called workflow"),
        pytest.param("docs (3.11)", [], ("export MODE=strict\nmake docs",), id="matrix"),
        pytest.param("lint", [], (), id="unknown job"),
        pytest.param(
            "All checks",
            ["Test"],
            (
                SHARED + "export PYTHONPATH=src\ncd 'my app'\npytest -q\npytest -q docs",
                SHARED + "cd 'my app'\npip install .",
                SHARED + "cd 'my app'\nruff check .",
            ),
            id="failed steps first, with environment and folder, without secrets",
        ),
    ],
)
def test_run_lines(job, failed, expected):
    assert run_lines(WORKFLOW, job, failed) == expected


@pytest.mark.parametrize(
    "text", ["", "a: [", "jobs: 3", "jobs: {x: 3}", "jobs: {x: {steps: {}}}", "[" * 5000, "&a [*a]"]
)
def test_a_file_that_makes_no_sense_gives_no_commands(text):
    assert run_lines(text, "x", []) == ()
