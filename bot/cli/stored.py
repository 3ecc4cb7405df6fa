"""The server's database, for the commands that look at what a server did."""

from bot.config import load
from bot.domain.errors import NeedsPerson
from bot.store.database import Database, connect


def opened() -> Database:
    """Open the database of a server that has run; raise `NeedsPerson` where none has yet."""
    url, folder = load.storage()
    database = connect(url, folder)
    if not database.used():
        database.close()
        ours = database.file is not None and database.file.parent == folder
        where = f"the data folder {folder}" if ours else f"the database {database.name}"
        raise NeedsPerson(f"no server has run with {where} yet: `regreen serve` starts one")
    return database
