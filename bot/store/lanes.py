"""The health of lanes and the standings of chains, shared by all workers.

What is known is read and written under a lock: the one write lock of SQLite, or the rows' own on
PostgreSQL. Those are made first, so that there is something to lock, and taken in the order of
their keys, so that two workers wait for each other instead of for ever.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from bot.domain.health import Health, Known, Standing
from bot.domain.ports import Clock
from bot.store.database import Database
from bot.store.tables import HEARD, LANES, STANDINGS, insert

_Record = TypeVar("_Record", Health, Standing)


class SqlLanes:
    """The port `Lanes`: healths and standings as JSON, one row each."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def known(self, lanes: Sequence[str], chain: str = "") -> Known:
        """Return what is known of *lanes*, and the standing of *chain*."""
        with self._database.read() as connection:
            return _known(connection, lanes, chain)

    def update(
        self,
        lanes: Sequence[str],
        chain: str,
        change: Callable[[Known], Known],
        *,
        once: str = "",
    ) -> Known:
        """Store what *change* makes of what is known, unless *once* was used; return the result."""
        now = self._clock.now()
        with self._database.write_swiftly() as connection:
            _make(connection, lanes, chain, now)
            before = _known(connection, lanes, chain, lock=True)
            if once:
                mark = insert(connection, HEARD).values(key=once, at=now)
                new = mark.on_conflict_do_nothing().returning(HEARD.c.key)
                if connection.execute(new).first() is None:
                    return before
            after = change(before)
            for key, health in after.healths.items():
                if health != before.healths.get(key, Health()):
                    row = {"record": _text(health), "at": now}
                    connection.execute(LANES.update().where(LANES.c.key == key).values(row))
            if chain and after.standing != before.standing:
                row = {"record": _text(after.standing), "at": now}
                at = STANDINGS.c.chain == chain
                connection.execute(STANDINGS.update().where(at).values(row))
        return after

    def claim(self, lane: str, now: datetime, until: datetime) -> bool:
        """Take the right to probe a lane until *until*, unless somebody has it."""
        with self._database.write_swiftly() as connection:
            row = insert(connection, LANES).values(
                key=lane, record=_text(Health()), at=now, probing=until
            )
            taken = row.on_conflict_do_update(
                index_elements=[LANES.c.key],
                set_={"probing": until},
                where=sa.or_(LANES.c.probing.is_(None), LANES.c.probing <= now),
            ).returning(LANES.c.key)
            return connection.execute(taken).first() is not None

    def forget(self, before: datetime) -> int:
        """Remove the lanes and calls that nobody has touched since; return how many rows."""
        with self._database.write_swiftly() as connection:
            old = (sa.delete(table).where(table.c.at < before) for table in (LANES, HEARD))
            return sum(connection.execute(one).rowcount for one in old)


def _make(connection: sa.Connection, lanes: Sequence[str], chain: str, now: datetime) -> None:
    """Make the rows that are not there yet."""
    rows = [{"key": key, "record": _text(Health()), "at": now} for key in sorted({*lanes})]
    if rows:
        connection.execute(insert(connection, LANES).on_conflict_do_nothing(), rows)
    if chain:
        row = {"chain": chain, "record": _text(Standing()), "at": now}
        connection.execute(insert(connection, STANDINGS).on_conflict_do_nothing(), row)


def _known(
    connection: sa.Connection, lanes: Sequence[str], chain: str, *, lock: bool = False
) -> Known:
    healths: sa.Select[Any] = sa.select(LANES).where(LANES.c.key.in_({*lanes}))
    standings: sa.Select[Any] = sa.select(STANDINGS).where(STANDINGS.c.chain == chain)
    if lock:  # SQLite has no such words, and needs none
        healths, standings = healths.with_for_update(), standings.with_for_update()
    rows = connection.execute(healths.order_by(LANES.c.key)).all()
    row = connection.execute(standings).one_or_none()
    return Known(
        {row.key: _read(row.record, Health) for row in rows},
        Standing() if row is None else _read(row.record, Standing),
    )


def _text(record: Health | Standing) -> str:
    return msgspec.json.encode(record).decode()


def _read(record: str, kind: type[_Record]) -> _Record:
    """Return a record; one of another version is forgotten, for it is soon learnt anew."""
    try:
        return msgspec.json.decode(record, type=kind)
    except msgspec.ValidationError:
        return kind()
