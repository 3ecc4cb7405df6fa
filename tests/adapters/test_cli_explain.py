"""`regreen explain` over a real database."""

import json

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.domain.errors import ConfigError
from bot.domain.runs import RunState
from bot.repair.explain import explain_text
from bot.store.database import connect
from bot.store.migrate import migrate
from bot.store.runs import SqlRuns
from tests.support.pulls import a_run

RUN = a_run(state=RunState.BLOCKED, reason="the same error came back [3] times")


@pytest.fixture
def explain(tmp_path):
    database = connect("", tmp_path)
    migrate(database)
    SqlRuns(database).save(RUN)
    database.close()
    environment = {"REGREEN_DATA_DIR": str(tmp_path), "REGREEN_DATABASE_URL": ""}
    return lambda *words: CliRunner(env=environment).invoke(app, ["explain", *words])


def test_a_person_reads_why(explain):
    ran = explain("r1")
    assert ran.exit_code == 0
    assert ran.stdout == explain_text(RUN)
    assert "because: the same error came back [3] times" in ran.stdout


def test_a_script_reads_one_object(explain):
    told = json.loads(explain("r1", "--json").stdout)
    assert (told["id"], told["state"], told["choices"]) == ("r1", "blocked", [])


def test_an_unknown_run_is_said_to_be_unknown(explain):
    error = explain("r2").exception
    assert isinstance(error, ConfigError)
    assert "there is no run r2" in str(error)
