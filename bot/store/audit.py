"""The audit trail: rows are added, never changed, and each key once."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.ports import Clock
from bot.store.database import Database
from bot.store.tables import AUDIT, insert, plain


class SqlAudit:
    """Audit events in a table; the clock says when."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def append(self, key: str, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Write the event unless *key* has been written before."""
        with self._database.write() as connection:
            row = insert(connection, AUDIT).values(
                key=key,
                at=self._clock.now(),
                kind=kind,
                subject=plain(subject),
                detail=msgspec.json.encode(dict(detail)).decode(),
            )
            connection.execute(row.on_conflict_do_nothing())

    def of(self, subject: str) -> Iterator[Mapping[str, Any]]:
        """Yield the subject's events in the order they were written: key, at, kind, detail."""
        query = sa.select(AUDIT).where(AUDIT.c.subject == plain(subject)).order_by(AUDIT.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield {
                "key": row.key,
                "at": row.at,
                "kind": row.kind,
                "subject": row.subject,
                "detail": msgspec.json.decode(row.detail),
            }
