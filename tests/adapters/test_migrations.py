"""Every revision applies to tables that hold rows, and can be undone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from bot.domain.errors import NeedsPerson
from bot.store.database import Database, connect
from bot.store.migrate import downgrade, head, migrate, pending, revisions
from bot.store.tables import METADATA
from tests.support.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    database = connect(url, tmp_path)
    yield database
    database.close()


def fill(database: Database, mark: str) -> None:
    """Put one row into every table there is, whatever its columns."""
    tables = sa.MetaData()
    with database.write() as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(table.insert().values(a_row(table, mark)))


def a_row(table: sa.Table, mark: str) -> dict[str, Any]:
    values: dict[type, Any] = {
        str: mark,
        int: sum(map(ord, mark)),
        float: 1.5,
        bool: True,
        bytes: mark.encode(),
    }
    now = sa.func.current_timestamp()
    return {column.name: values.get(column.type.python_type, now) for column in table.columns}


def rows(database: Database) -> dict[str, int]:
    tables = sa.MetaData()
    with database.read() as connection:
        tables.reflect(connection)
        return {
            table.name: connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def test_each_revision_goes_up_and_down_over_rows(database: Database):
    for revision in revisions():
        migrate(database, revision)
        fill(database, revision)
    for _ in revisions():
        before = rows(database)
        assert before
        assert all(before.values())
        downgrade(database, "-1")
    assert rows(database) == {}
    assert migrate(database) == ("", head())


def test_the_migrated_tables_are_those_of_the_code(database: Database):
    migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_second_migration_changes_nothing(database: Database):
    assert "regreen migrate" in pending(database)
    assert migrate(database) == ("", head())
    fill(database, "kept")
    assert migrate(database) == (head(), head())
    assert all(rows(database).values())
    assert pending(database) == ""


def test_a_failing_migration_leaves_the_database_as_it_was(database: Database):
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE audit (id INTEGER)")  # the last one it would make
    with pytest.raises(Exception, match="audit"):
        migrate(database)
    assert set(rows(database)) == {"audit"}


def test_tables_of_a_newer_version_are_left_alone(database: Database):
    migrate(database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in pending(database)
    with pytest.raises(NeedsPerson, match="newer"):
        migrate(database)
