"""The durable inbox.

A whole batch is stored by one statement that is its own transaction. This is the hot path of the
intake, and the reason is Python's interpreter lock: each statement (and each compressed body) lets
go of it and must win it back from the busy event loop, so one big step is many times faster than
many small ones.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import sqlalchemy as sa
import zstandard

from bot.domain.errors import Broken, Gone
from bot.domain.ports import Delivery
from bot.store.database import Database
from bot.store.tables import DELIVERIES, insert, plain

SETTLED = frozenset({"done", "ignored", "malformed", "failed"})
LEVEL = 1  # the fastest; higher levels cost the intake more than the disk
MAX_BODY_BYTES = 64 * 2**20
ROWS = 500  # per statement: SQLite allows 32,766 parameters
UNNEST = (
    "INSERT INTO deliveries (guid, event, action, body, received_at, state, note) "
    "SELECT guid, event, action, body, received_at, 'new', '' FROM unnest("
    "%b::text[], %b::text[], %b::text[], %b::bytea[], %b::timestamptz[]"
    ") AS batch (guid, event, action, body, received_at) ON CONFLICT (guid) DO NOTHING"
)


class SqlDeliveries:
    """Deliveries in a table, oldest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, batch: Sequence[Delivery]) -> int:
        """Store those of *batch* whose GUID is unknown, durably, and return how many they are."""
        if not batch:
            return 0
        if not self._database.sqlite:
            return self._accept_postgres(batch)
        if len(batch) <= ROWS:
            with self._database.read() as connection:
                return _insert_rows(connection, batch)
        with self._database.write() as connection:
            slices = range(0, len(batch), ROWS)
            return sum(_insert_rows(connection, batch[start : start + ROWS]) for start in slices)

    def _accept_postgres(self, batch: Sequence[Delivery]) -> int:
        columns = (
            [delivery.guid for delivery in batch],
            [delivery.event for delivery in batch],
            [delivery.action for delivery in batch],
            _compressed(batch),
            [delivery.received_at for delivery in batch],
        )
        with self._database.write() as connection:
            return connection.exec_driver_sql(UNNEST, columns).rowcount

    def waiting(self, limit: int) -> Sequence[Delivery]:
        """Return the oldest deliveries that nobody has settled."""
        query = (
            sa.select(DELIVERIES)
            .where(DELIVERIES.c.state == "new")
            .order_by(DELIVERIES.c.received_at, DELIVERIES.c.guid)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def settle(self, guid: str, state: str, note: str = "") -> None:
        """Say what became of a delivery: done, ignored, malformed or failed."""
        if state not in SETTLED:
            raise Broken(f"a delivery cannot become {state!r}")
        change = (
            sa.update(DELIVERIES)
            .where(DELIVERIES.c.guid == guid)
            .values(state=state, note=plain(note))
        )
        with self._database.write() as connection:
            if connection.execute(change).rowcount == 0:
                raise Gone(f"there is no delivery {guid}")

    def read(self, guid: str) -> Delivery:
        """Return one delivery, whatever became of it."""
        query = sa.select(DELIVERIES).where(DELIVERIES.c.guid == guid)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise Gone(f"there is no delivery {guid}")
        return _delivery(row)

    def keep_malformed(self, delivery: Delivery) -> None:
        """Keep a genuine delivery that makes no sense, for people to look at."""
        with self._database.write() as connection:
            row = insert(connection, DELIVERIES).values(
                guid=delivery.guid,
                event=delivery.event,
                action=delivery.action,
                body=zstandard.ZstdCompressor(level=LEVEL).compress(delivery.body),
                received_at=delivery.received_at,
                state="malformed",
                note="",
            )
            connection.execute(row.on_conflict_do_nothing())

    def forget(self, before: datetime) -> int:
        """Remove the settled deliveries received *before*, and return how many they were."""
        old = sa.delete(DELIVERIES).where(
            DELIVERIES.c.state != "new", DELIVERIES.c.received_at < before
        )
        with self._database.write() as connection:
            return connection.execute(old).rowcount


def _compressed(batch: Sequence[Delivery]) -> list[bytes]:
    """Compress all bodies in one call that lets go of the interpreter lock once."""
    bodies: list[bytes | bytearray | memoryview[int]] = [delivery.body for delivery in batch]
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    if len(bodies) == 1 or not all(bodies):  # the call below refuses an empty body
        return [compressor.compress(body) for body in bodies]
    frames = compressor.multi_compress_to_buffer(bodies)
    return [frames[index].tobytes() for index in range(len(frames))]


@cache
def _insert_sql(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, 'new', '')"] * rows)
    head = "INSERT INTO deliveries (guid, event, action, body, received_at, state, note) VALUES "
    return f"{head}{values} ON CONFLICT (guid) DO NOTHING"


def _insert_rows(connection: sa.Connection, batch: Sequence[Delivery]) -> int:
    values: list[object] = []
    for delivery, body in zip(batch, _compressed(batch), strict=True):
        at = delivery.received_at.astimezone(UTC).replace(tzinfo=None)
        values += (
            delivery.guid,
            delivery.event,
            delivery.action,
            body,
            at.isoformat(sep=" ", timespec="microseconds"),  # as SQLAlchemy writes it
        )
    return connection.exec_driver_sql(_insert_sql(len(batch)), tuple(values)).rowcount


def _delivery(row: sa.Row[tuple[object, ...]]) -> Delivery:
    body = zstandard.ZstdDecompressor().decompress(row.body, max_output_size=MAX_BODY_BYTES)
    return Delivery(
        guid=row.guid,
        event=row.event,
        action=row.action,
        body=body,
        received_at=row.received_at,
    )
