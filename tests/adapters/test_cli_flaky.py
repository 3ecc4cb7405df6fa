"""`regreen flaky` for people and for scripts, over a database as the server leaves it."""

import json
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from bot.cli.flaky import command
from bot.domain.values import Observation
from bot.store.database import connect
from bot.store.history import SqlHistory
from bot.store.migrate import migrate

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def flaky(tmp_path):
    app = typer.Typer()
    app.command()(command)

    def run(*words: str):
        return CliRunner().invoke(app, words, env={"REGREEN_DATA_DIR": str(tmp_path)})

    return run


@pytest.fixture
def known(tmp_path):
    database = connect("", tmp_path)
    migrate(database)
    history = SqlHistory(database)
    for repo, test, flaked in (("o/a", "test_b[x]", 3), ("o/b", "", 1)):
        for number in range(4):
            one = Observation(f"{test}{number}", "ci", str(number), test, number < flaked)
            history.remember(repo, [one], AT)
    database.close()


@pytest.mark.usefixtures("known")
def test_a_person_reads_which_tests_how_often_and_when(flaky):
    assert flaky().stdout.splitlines() == [
        " 75%  test_b[x]",
        "      flaky in 3 of 4 failures, last 2026-01-02 03:04, ci of o/a",
        " 25%  ci",
        "      flaky in 1 of 4 failures, last 2026-01-02 03:04, ci of o/b",
    ]


@pytest.mark.usefixtures("known")
def test_a_script_reads_a_list(flaky):
    told = json.loads(flaky("--json", "--repo", "o/a").stdout)
    assert told == [
        {
            "repo": "o/a",
            "check": "ci",
            "test": "test_b[x]",
            "seen": 4,
            "flaked": 3,
            "rate": 0.75,
            "last_at": "2026-01-02T03:04:05Z",
        }
    ]


@pytest.mark.usefixtures("known")
def test_none_is_said_in_words(flaky):
    assert flaky("--repo", "o/none").stdout == "No flaky test is known.\n"
    assert len(flaky("--limit", "1").stdout.splitlines()) == 2
