"""`regreen classify` for scripts and for people."""

import json

import pytest
import typer
from typer.testing import CliRunner

from bot.cli.classify import command

LOG = "FAILED tests/test_a.py::test_b - assert 3 == 4\n==== 1 failed, 2 passed in 0.12s ====\n"


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(command)
    return app


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "job.log"
    path.write_text(LOG)
    return str(path)


def test_a_script_reads_one_object(app, log):
    ran = CliRunner().invoke(app, [log, "--json"])
    told = json.loads(ran.stdout)
    assert ran.exit_code == 0
    assert (told["type"], told["severity"], told["can_retry"]) == ("test_assert", "high", False)
    assert told["message"] == "pytest: 1 test failed, first tests/test_a.py::test_b: assert 3 == 4"
    assert told["evidence"][0]["line"] == 1
    assert 0.5 < told["confidence"] < 1
    assert told["metadata"]["tool"] == "pytest"
    assert not told["requires_replan"]


def test_a_person_reads_a_sentence_and_the_lines(app, log):
    ran = CliRunner().invoke(app, [log])
    assert ran.exit_code == 0
    assert "test_assert" in ran.stdout
    assert "assert 3 == 4" in ran.stdout


def test_standard_input_and_a_missing_file(app):
    assert '"type":"test_assert"' in CliRunner().invoke(app, ["-", "--json"], input=LOG).stdout
    missing = CliRunner().invoke(app, ["/nowhere/job.log"])
    assert missing.exit_code == 2
    assert "cannot read" in missing.stderr
