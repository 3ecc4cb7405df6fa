"""What calls of models cost, counted in accounts that may have a cap.

An account is one row that knows what was spent and what is held back for calls under way; it is the
sum of its calls. All accounts of a call change in one conditional statement, so two processes
cannot both take what is left, and always in the order of their names, so that two transactions wait
for each other instead of for ever.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bot.domain.models import Account, Call, Spend
from bot.store.database import Database
from bot.store.tables import MODEL_CALLS, SPENDING

OPEN, SETTLED = "open", "settled"

# Statements, made once: to make one takes longer than to execute it.
_NEW_CALL = MODEL_CALLS.insert()
_CLOSED = (
    MODEL_CALLS.update()
    .where(MODEL_CALLS.c.state == sa.literal_column(f"'{OPEN}'"))  # else its index is not seen
    .values(state=SETTLED)
    .returning(MODEL_CALLS.c.held, MODEL_CALLS.c.accounts, MODEL_CALLS.c.at)
)
_SETTLED = _CLOSED.where(MODEL_CALLS.c.id == sa.bindparam("which")).values(
    record=sa.bindparam("ended")
)
_ABANDONED = _CLOSED.where(MODEL_CALLS.c.at < sa.bindparam("before"))
_Closed = sa.Row[int, str, datetime]  # what a call held back, in which accounts, since when


class _Change(NamedTuple):
    """What is added to an account: a row of its table, and the cap that must hold after it."""

    account: str
    spent: int
    held: int
    at: datetime
    cap: int | None = None


class _AtCapError(Exception):
    """Undoes a transaction that found an account at its cap."""

    def __init__(self, account: Account) -> None:
        self.account = account


class SqlLedger:
    """Accounts, and calls as JSON beside the columns that are searched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, call: Call, accounts: Sequence[Account]) -> Account | None:
        """Hold *call*'s cost back in every account, or return the one whose cap it would break."""
        amount = call.cost_nano or 0
        counted = sorted(accounts, key=lambda account: account.name)
        names = [account.name for account in counted]
        row = {
            "id": call.id,
            "run": call.origin.run,
            "at": call.at,
            "state": OPEN,
            "held": amount,
            "accounts": msgspec.json.encode(names).decode(),
            "record": _record(call),
        }
        changes = [_Change(one.name, 0, amount, call.at, one.cap_nano) for one in counted]
        try:
            with self._database.write_swiftly() as connection:
                made = _count(connection, changes)
                _all_made(counted, made)
                connection.execute(_NEW_CALL, row)
        except _AtCapError as at_cap:
            return at_cap.account
        return None

    def settle(self, call: Call) -> None:
        """Replace what was held back for *call* by what it cost."""
        with self._database.write_swiftly() as connection:
            ended = {"which": call.id, "ended": _record(call)}
            closed = connection.execute(_SETTLED, ended).all()
            _release(connection, [(row, call.cost_nano or 0) for row in closed])

    def spent(self, account: str) -> Spend:
        """Return what the account called *account* has spent and holds back."""
        query = sa.select(SPENDING.c.spent, SPENDING.c.held).where(SPENDING.c.account == account)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Spend() if row is None else Spend(row.spent, row.held)

    def calls(self, run: str) -> Sequence[Call]:
        """Return the settled calls of a run, oldest first."""
        query = (
            sa.select(MODEL_CALLS.c.record)
            .where(MODEL_CALLS.c.run == run, MODEL_CALLS.c.state == SETTLED)
            .order_by(MODEL_CALLS.c.at, MODEL_CALLS.c.id)
        )
        with self._database.read() as connection:
            records = connection.execute(query).scalars().all()
        return [msgspec.json.decode(record, type=Call) for record in records]

    def abandon(self, before: datetime) -> int:
        """Settle the open calls from before *before* at what was held back; return how many."""
        with self._database.write_swiftly() as connection:
            closed = connection.execute(_ABANDONED, {"before": before}).all()
            _release(connection, [(row, row.held) for row in closed])
        return len(closed)

    def forget(self, before: datetime) -> int:
        """Remove settled calls and idle accounts from before *before*; return how many calls."""
        with self._database.write_swiftly() as connection:
            old = MODEL_CALLS.delete().where(
                MODEL_CALLS.c.state == SETTLED, MODEL_CALLS.c.at < before
            )
            removed = connection.execute(old).rowcount
            idle = SPENDING.delete().where(SPENDING.c.held == 0, SPENDING.c.at < before)
            connection.execute(idle)
        return removed


def _count(connection: sa.Connection, changes: Sequence["_Change"]) -> set[str]:
    """Change accounts, each unless that breaks its cap; return those that were changed.

    Changes that cost nothing break no cap. A new account begins with nothing spent.
    """
    fitting = [
        one._asdict() for one in changes if one.cap is None or one.spent + one.held <= one.cap
    ]
    if not fitting:
        return set()
    return set(connection.execute(_counting(connection.dialect.name), fitting).scalars())


@cache
def _counting(dialect: str) -> Any:
    """Return the statement that changes accounts."""
    row = (sqlite if dialect == "sqlite" else postgresql).insert(SPENDING)
    new = row.excluded
    after = SPENDING.c.spent + SPENDING.c.held + new.spent + new.held
    return row.on_conflict_do_update(
        index_elements=[SPENDING.c.account],
        set_={
            "spent": SPENDING.c.spent + new.spent,
            "held": SPENDING.c.held + new.held,
            "at": new.at,
            "cap": sa.func.coalesce(new.cap, SPENDING.c.cap),
        },
        where=sa.or_(new.cap.is_(None), new.spent + new.held == 0, after <= new.cap),
    ).returning(SPENDING.c.account)


def _all_made(accounts: Sequence[Account], made: set[str]) -> None:
    """Raise `_AtCapError` with the first account that was not changed, if there is one."""
    for account in accounts:
        if account.name not in made:
            raise _AtCapError(account)


def _release(connection: sa.Connection, closed: Sequence[tuple[_Closed, int]]) -> None:
    """Let go of what the closed calls held back, and count what each of them cost."""
    changes: dict[str, _Change] = {}
    for row, cost in closed:
        for name in msgspec.json.decode(row.accounts, type=list[str]):
            before = changes.get(name, _Change(name, 0, 0, row.at))
            spent, held = before.spent + cost, before.held - row.held
            changes[name] = _Change(name, spent, held, max(before.at, row.at))
    _count(connection, [changes[name] for name in sorted(changes)])


def _record(call: Call) -> str:
    return msgspec.json.encode(call).decode()
