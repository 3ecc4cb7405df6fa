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


def test_bulk_work_answers_each_line(app):
    asked = "\n".join(json.dumps({"id": number, "text": LOG * number}) for number in (1, 0)) + "\n"
    ran = CliRunner().invoke(app, ["-", "--jsonl"], input=asked)
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.exit_code == 0
    assert [(one["id"], one["type"]) for one in told] == [(1, "test_assert"), (0, "unknown")]


@pytest.mark.parametrize("line", ["{", '{"log": "x"}', '{"text": 3}'])
def test_a_line_that_does_not_fit_is_named(app, line):
    ran = CliRunner().invoke(app, ["-", "--jsonl"], input=f'{{"text": "x"}}\n{line}\n')
    assert ran.exit_code == 2
    assert "line 2: " in ran.stderr


def test_the_explanation_names_rules_lines_and_runners_up(app, tmp_path):
    path = tmp_path / "job.log"
    path.write_text(LOG + "Error: connect ECONNREFUSED 127.0.0.1:5432\n")
    ran = CliRunner().invoke(app, [str(path), "--explain"], env={"COLUMNS": "200"})
    assert "pytest-" in ran.stdout
    assert "transient" in ran.stdout
    others = json.loads(CliRunner().invoke(app, [str(path), "--json"]).stdout)["metadata"]["others"]
    assert [(one["type"], one["line"]) for one in others] == [("transient", 3)]
    assert all(one["rule"] and 0 < one["confidence"] < 1 for one in others)


def test_own_patterns_are_used_when_the_configuration_is_named(app, tmp_path):
    config = tmp_path / "llm_config.toml"
    config.write_text('[[failure_patterns]]\ntype = "infra"\npattern = "test_b"\n')
    ran = CliRunner().invoke(app, ["-", "--json", "--config", str(config)], input=LOG)
    assert json.loads(ran.stdout)["type"] == "infra"
    config.write_text('[[failure_patterns]]\ntype = "infra"\npattern = "("\n')
    refused = CliRunner().invoke(app, ["-", "--config", str(config)], input=LOG)
    assert refused.exit_code == 2
    assert "at character" in refused.stderr
