"""What became of failures before: flaky or real, by check, fingerprint and test."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from bot.domain.values import Observation, Record, Value
from bot.store.database import Database
from bot.store.tables import TEST_OBSERVATIONS, insert, plain

_T = TEST_OBSERVATIONS.c
_SEEN = sa.func.count().label("seen")
_FLAKED = sa.func.sum(sa.case((_T.flaked, 1), else_=0)).label("flaked")
_LAST = sa.func.max(_T.at).label("last_at")


class FlakyTest(Value, frozen=True):
    """A test that failed without cause: in `flaked` of the `seen` times that it failed."""

    repo: str
    check: str
    test: str
    seen: int
    flaked: int
    rate: float
    last_at: datetime


class SqlHistory:
    """The port `History`, in a table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, repo: str, observations: Sequence[Observation], at: datetime) -> None:
        """Keep the observations, each key of a repository once."""
        rows = [
            {
                "repo": repo,
                "key": plain(one.key),
                "check_name": plain(one.check),
                "fingerprint": plain(one.fingerprint),
                "test": plain(one.test),
                "flaked": one.flaked,
                "at": at,
            }
            for one in observations
        ]
        if not rows:
            return
        with self._database.write() as connection:
            new = insert(connection, TEST_OBSERVATIONS)
            connection.execute(new.on_conflict_do_nothing(), rows)

    def records(
        self, repo: str, failures: Sequence[tuple[str, str]], since: datetime
    ) -> Mapping[tuple[str, str], Record]:
        """Return what is known of each check and fingerprint; unknown ones were never seen."""
        wanted = {(check, key): (plain(check), plain(key)) for check, key in failures}
        if not wanted:
            return {}
        query = (
            sa.select(_T.check_name, _T.fingerprint, _SEEN, _FLAKED, _LAST)
            .where(_T.repo == repo, _T.at >= since)
            .where(sa.tuple_(_T.check_name, _T.fingerprint).in_(set(wanted.values())))
            .group_by(_T.check_name, _T.fingerprint)
        )
        with self._database.read() as connection:
            found = {
                (row.check_name, row.fingerprint): Record(row.seen, row.flaked, row.last_at)
                for row in connection.execute(query)
            }
        return {failure: found.get(kept, Record()) for failure, kept in wanted.items()}

    def flaky(self, repo: str | None = None, *, limit: int = 50) -> Sequence[FlakyTest]:
        """Return the tests that were flaky, the worst first; of one repository or of all."""
        query = (
            sa.select(_T.repo, _T.check_name, _T.test, _SEEN, _FLAKED, _LAST)
            .group_by(_T.repo, _T.check_name, _T.test)
            .having(_FLAKED > 0)
            .order_by(_FLAKED.desc(), _SEEN, _T.repo, _T.check_name, _T.test)
            .limit(limit)
        )
        if repo is not None:
            query = query.where(_T.repo == repo)
        with self._database.read() as connection:
            return [
                FlakyTest(
                    repo=row.repo,
                    check=row.check_name,
                    test=row.test,
                    seen=row.seen,
                    flaked=row.flaked,
                    rate=round(row.flaked / row.seen, 3),
                    last_at=row.last_at,
                )
                for row in connection.execute(query)
            ]

    def forget(self, before: datetime) -> int:
        """Remove what was observed *before*, and return how much that was."""
        old = sa.delete(TEST_OBSERVATIONS).where(_T.at < before)
        with self._database.write() as connection:
            return connection.execute(old).rowcount
