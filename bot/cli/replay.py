"""`regreen replay DELIVERY`: hand a stored delivery in again.

The server finds it in its inbox like a new one. What it caused the first time is not done twice:
every effect looks for what it made before.
"""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from bot.cli import stored
from bot.domain.errors import ConfigError, Gone
from bot.runtime.clock import SystemClock
from bot.store.deliveries import SqlDeliveries


def command(
    delivery: Annotated[str, typer.Argument(help="The GUID, as GitHub's delivery page shows it.")],
) -> None:
    """Store the delivery once more, under a GUID that says so."""
    database = stored.opened()
    deliveries = SqlDeliveries(database)
    try:
        known = deliveries.read(delivery)
    except Gone as error:
        raise ConfigError(f"no delivery {delivery} is stored in {database.name}") from error
    now = SystemClock().now()
    guid = f"{known.guid}-replay-{now:%H%M%S%f}"
    deliveries.accept([msgspec.structs.replace(known, guid=guid, received_at=now)])
    what = f"{known.event} {known.action}".strip()
    Console(soft_wrap=True, highlight=False).print(f"{what} is in the inbox again as {guid}")
