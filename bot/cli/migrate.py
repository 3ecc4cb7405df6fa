"""`regreen migrate`: bring the database to the tables of this version."""

from rich.console import Console

from bot.config import load
from bot.store.database import connect
from bot.store.migrate import migrate


def command() -> None:
    """Create or update the tables of the database; safe to run again, and beside a server."""
    database = connect(*load.storage())
    try:
        before, after = migrate(database)
        done = "is up to date" if before == after else f"before: {before or 'no tables'}"
        Console(soft_wrap=True).print(f"{database.name}: revision {after}, {done}", highlight=False)
    finally:
        database.close()
