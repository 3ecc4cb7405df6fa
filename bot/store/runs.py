"""Runs, and the fences of their pull requests.

A fence only ever rises. `advance` raises it when the head is another, `bump` when somebody says so;
each is one atomic statement, so two processes cannot give out the same generation twice.
"""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from bot.domain.runs import Fence, Run
from bot.domain.values import PullRef, RunId, Sha
from bot.store.database import Database
from bot.store.tables import BUMPS, FENCES, RUNS, insert, plain


class SqlRuns:
    """Runs as JSON, beside the columns that are searched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fence(self, pull: PullRef) -> Fence:
        """Return the fence; generation 0 without a head when the pull request is new to us."""
        with self._database.read() as connection:
            return _fence(connection, pull)

    def advance(self, pull: PullRef, head: Sha, reason: str) -> Fence:
        """Raise the generation when *head* is another than the one we know; return the fence."""
        with self._database.write() as connection:
            row = insert(connection, FENCES).values(
                repo=pull.repo, number=pull.number, generation=1, head=head, reason=plain(reason)
            )
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=[FENCES.c.repo, FENCES.c.number],
                    set_={
                        "generation": FENCES.c.generation + 1,
                        "head": row.excluded.head,
                        "reason": row.excluded.reason,
                    },
                    where=FENCES.c.head != row.excluded.head,
                )
            )
            return _fence(connection, pull)

    def bump(self, pull: PullRef, reason: str, *, key: str, stop: bool = False) -> Fence:
        """Raise the generation whatever the head, once for each *key*; return the fence."""
        with self._database.write() as connection:
            mark = insert(connection, BUMPS).values(key=key, repo=pull.repo, number=pull.number)
            new = mark.on_conflict_do_nothing().returning(BUMPS.c.key)
            if connection.execute(new).first() is not None:
                row = insert(connection, FENCES).values(
                    repo=pull.repo,
                    number=pull.number,
                    generation=1,
                    head="",
                    reason=plain(reason),
                    stopped=int(stop),
                )
                connection.execute(
                    row.on_conflict_do_update(
                        index_elements=[FENCES.c.repo, FENCES.c.number],
                        set_={
                            "generation": FENCES.c.generation + 1,
                            "reason": row.excluded.reason,
                            "stopped": FENCES.c.generation + 1 if stop else FENCES.c.stopped,
                        },
                    )
                )
            return _fence(connection, pull)

    def newest(self, pull: PullRef) -> Run | None:
        """Return the run of the pull request that began last."""
        query = (
            sa.select(RUNS.c.record)
            .where(RUNS.c.repo == pull.repo, RUNS.c.number == pull.number)
            .order_by(RUNS.c.started_at.desc(), RUNS.c.id.desc())
            .limit(1)
        )
        return self._one(query)

    def save(self, run: Run) -> None:
        """Store the run as it is now."""
        searched = {
            "state": run.state.value,
            "head": run.head,
            "generation": run.generation,
            "updated_at": run.updated_at,
            "record": msgspec.json.encode(run).decode(),
        }
        with self._database.write() as connection:
            row = insert(connection, RUNS).values(
                id=run.id,
                repo=run.pull.repo,
                number=run.pull.number,
                started_at=run.started_at,
                **searched,
            )
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=[RUNS.c.id],
                    set_={name: row.excluded[name] for name in searched},
                )
            )

    def list(self, *, limit: int = 50) -> Sequence[Run]:
        """Return the runs that changed last, newest change first."""
        query = (
            sa.select(RUNS.c.record)
            .order_by(RUNS.c.updated_at.desc(), RUNS.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_run(record) for record in connection.execute(query).scalars()]

    def read(self, run: RunId) -> Run | None:
        """Return one run."""
        return self._one(sa.select(RUNS.c.record).where(RUNS.c.id == run))

    def count(self) -> Mapping[str, int]:
        """Return how many runs are in each state."""
        query = sa.select(RUNS.c.state, sa.func.count().label("number")).group_by(RUNS.c.state)
        with self._database.read() as connection:
            return {row.state: row.number for row in connection.execute(query)}

    def _one(self, query: sa.Select[str]) -> Run | None:
        with self._database.read() as connection:
            record = connection.execute(query).scalar_one_or_none()
        return None if record is None else _run(record)


def _fence(connection: sa.Connection, pull: PullRef) -> Fence:
    query = sa.select(FENCES).where(FENCES.c.repo == pull.repo, FENCES.c.number == pull.number)
    row = connection.execute(query).one_or_none()
    if row is None:
        return Fence(0, Sha(""))
    return Fence(row.generation, Sha(row.head), row.reason, row.stopped)


def _run(record: str) -> Run:
    return msgspec.json.decode(record, type=Run)
