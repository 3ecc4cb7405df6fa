"""Runs, and the fences of their pull requests.

A fence only ever rises. `advance` raises it when the head is another, `bump` when somebody says so;
each is one atomic statement, so two processes cannot give out the same generation twice.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from bot.domain.runs import Fence, Run, RunState
from bot.domain.values import PullRef, RunId, Sha
from bot.store.database import Database
from bot.store.projections import project
from bot.store.tables import APPROVALS, BUMPS, FENCES, RUNS, insert, plain

LONGEST_PASS = timedelta(days=1)  # a run's time of change may be when its pass began


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
        """Store the run as it is now, and what the tables of `projections` tell of it."""
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
            project(connection, run)

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

    def by_gate(self, gate: str) -> Run | None:
        """Return the run that waits, or waited, at this gate."""
        joined = RUNS.join(APPROVALS, APPROVALS.c.run_id == RUNS.c.id)
        return self._one(
            sa.select(RUNS.c.record).select_from(joined).where(APPROVALS.c.id == plain(gate))
        )

    def attempts_since(self, pull: PullRef, since: datetime) -> int:
        """Count the attempts begun on a pull request since then, over all its runs."""
        query = sa.select(RUNS.c.record).where(
            RUNS.c.repo == pull.repo,
            RUNS.c.number == pull.number,
            RUNS.c.updated_at >= since - LONGEST_PASS,  # changed before, it has begun none since
        )
        with self._database.read() as connection:
            runs = [_run(record) for record in connection.execute(query).scalars()]
        return sum(attempt.started_at >= since for run in runs for attempt in run.attempts)

    def waiting_for_base(self, repo: str) -> Sequence[PullRef]:
        """Return the pull requests of a repository whose newest run waits for the base branch."""
        newer = RUNS.alias("newer")
        overtaken = sa.exists().where(
            newer.c.repo == RUNS.c.repo,
            newer.c.number == RUNS.c.number,
            sa.tuple_(newer.c.started_at, newer.c.id) > sa.tuple_(RUNS.c.started_at, RUNS.c.id),
        )
        query = (
            sa.select(RUNS.c.number)
            .where(RUNS.c.repo == repo, RUNS.c.state == RunState.WAITING_BASE.value, ~overtaken)
            .order_by(RUNS.c.number)
        )
        with self._database.read() as connection:
            return [PullRef(repo, number) for number in connection.execute(query).scalars()]

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
