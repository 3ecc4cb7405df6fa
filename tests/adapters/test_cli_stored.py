"""The commands that look at what a server did, where none has run yet."""

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.domain.errors import NeedsPerson
from bot.store.database import connect
from bot.store.migrate import migrate

LOOKING = {
    "runs": ("runs", "list"),
    "a-run": ("runs", "show", "x"),
    "a-diff": ("runs", "diff", "x"),
    "explain": ("explain", "x"),
    "flaky": ("flaky",),
    "replay": ("replay", "x"),
    "routing": ("routing",),
    "routing-json": ("routing", "--json"),
}


@pytest.mark.parametrize("words", LOOKING.values(), ids=LOOKING)
def test_where_no_server_has_run_that_is_said_in_words(words, tmp_path):
    done = CliRunner().invoke(app, words, env={"REGREEN_DATA_DIR": str(tmp_path)})
    assert isinstance(done.exception, NeedsPerson), "`main` tells it without a traceback"
    assert f"no server has run with the data folder {tmp_path} yet" in str(done.exception)
    assert done.stdout == ""


def test_a_database_elsewhere_is_named(tmp_path):
    url = f"sqlite:///{tmp_path}/own.db"
    env = {"REGREEN_DATABASE_URL": url, "REGREEN_DATA_DIR": str(tmp_path / "data")}
    done = CliRunner().invoke(app, ["routing"], env=env)
    assert f"no server has run with the database {url} yet" in str(done.exception)


def test_where_one_has_run_an_empty_answer_is_one(tmp_path):
    database = connect("", tmp_path)
    migrate(database)
    database.close()
    done = CliRunner().invoke(app, ["runs", "list"], env={"REGREEN_DATA_DIR": str(tmp_path)})
    assert done.stdout == "There are no runs yet.\n"
