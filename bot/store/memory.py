"""The in-memory twin: the same contract, nothing survives the process."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from bot.domain.errors import Broken, Gone
from bot.domain.health import Health, Known, Standing
from bot.domain.models import Account, Call, Spend
from bot.domain.ports import Clock, Delivery
from bot.domain.runs import Fence, Run, RunState
from bot.domain.values import Observation, PullRef, Record, RunId, Sha
from bot.store.deliveries import SETTLED


class MemoryDeliveries:
    """Deliveries in a dictionary: delivery, state and note by GUID."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Delivery, str, str]] = {}
        self._lock = threading.Lock()

    def accept(self, batch: Sequence[Delivery]) -> int:
        """Store those of *batch* whose GUID is unknown and return how many they are."""
        return sum(self._put(delivery, "new") for delivery in batch)

    def waiting(self, limit: int) -> Sequence[Delivery]:
        """Return the oldest deliveries that nobody has settled."""
        with self._lock:
            new = [delivery for delivery, state, _ in self._rows.values() if state == "new"]
        return sorted(new, key=lambda delivery: (delivery.received_at, delivery.guid))[:limit]

    def settle(self, guid: str, state: str, note: str = "") -> None:
        """Say what became of a delivery: done, ignored, malformed or failed."""
        if state not in SETTLED:
            raise Broken(f"a delivery cannot become {state!r}")
        delivery = self.read(guid)
        with self._lock:
            self._rows[guid] = (delivery, state, note)

    def read(self, guid: str) -> Delivery:
        """Return one delivery, whatever became of it."""
        with self._lock:
            row = self._rows.get(guid)
        if row is None:
            raise Gone(f"there is no delivery {guid}")
        return row[0]

    def keep_malformed(self, delivery: Delivery) -> None:
        """Keep a genuine delivery that makes no sense, for people to look at."""
        self._put(delivery, "malformed")

    def forget(self, before: datetime) -> int:
        """Remove the settled deliveries received *before*, and return how many they were."""
        with self._lock:
            old = [
                guid
                for guid, (delivery, state, _) in self._rows.items()
                if state != "new" and delivery.received_at < before
            ]
            for guid in old:
                del self._rows[guid]
        return len(old)

    def _put(self, delivery: Delivery, state: str) -> bool:
        with self._lock:
            new = delivery.guid not in self._rows
            if new:
                self._rows[delivery.guid] = (delivery, state, "")
        return new


class MemoryRuns:
    """Runs and fences in dictionaries."""

    def __init__(self) -> None:
        self._runs: dict[RunId, Run] = {}
        self._fences: dict[PullRef, Fence] = {}
        self._bumps: set[str] = set()
        self._lock = threading.Lock()

    def fence(self, pull: PullRef) -> Fence:
        """Return the fence; generation 0 without a head when the pull request is new to us."""
        return self._fences.get(pull, Fence(0, Sha("")))

    def advance(self, pull: PullRef, head: Sha, reason: str) -> Fence:
        """Raise the generation when *head* is another than the one we know; return the fence."""
        with self._lock:
            fence = self.fence(pull)
            if fence.head != head or fence.generation == 0:
                fence = Fence(fence.generation + 1, head, reason, fence.stopped)
                self._fences[pull] = fence
        return fence

    def bump(self, pull: PullRef, reason: str, *, key: str, stop: bool = False) -> Fence:
        """Raise the generation whatever the head, once for each *key*; return the fence."""
        with self._lock:
            fence = self.fence(pull)
            if key not in self._bumps:
                self._bumps.add(key)
                generation = fence.generation + 1
                stopped = generation if stop else fence.stopped
                fence = Fence(generation, fence.head, reason, stopped)
                self._fences[pull] = fence
        return fence

    def newest(self, pull: PullRef) -> Run | None:
        """Return the run of the pull request that began last."""
        with self._lock:
            runs = [run for run in self._runs.values() if run.pull == pull]
        return max(runs, key=lambda run: (run.started_at, run.id), default=None)

    def save(self, run: Run) -> None:
        """Store the run as it is now."""
        with self._lock:
            self._runs[run.id] = run

    def list(self, *, limit: int = 50) -> Sequence[Run]:
        """Return the runs that changed last, newest change first."""
        with self._lock:
            runs = list(self._runs.values())
        return sorted(runs, key=lambda run: (run.updated_at, run.id), reverse=True)[:limit]

    def read(self, run: RunId) -> Run | None:
        """Return one run."""
        return self._runs.get(run)

    def by_gate(self, gate: str) -> Run | None:
        """Return the run that waits, or waited, at this gate."""
        runs = self.list(limit=len(self._runs))
        return next((run for run in runs if any(one.id == gate for one in run.gates)), None)

    def attempts_since(self, pull: PullRef, since: datetime) -> int:
        """Count the attempts begun on a pull request since then, over all its runs."""
        with self._lock:
            runs = [run for run in self._runs.values() if run.pull == pull]
        return sum(attempt.started_at >= since for run in runs for attempt in run.attempts)

    def waiting_for_base(self, repo: str) -> Sequence[PullRef]:
        """Return the pull requests of a repository whose newest run waits for the base branch."""
        with self._lock:
            pulls = {run.pull for run in self._runs.values() if run.pull.repo == repo}
        newest = [run for pull in pulls if (run := self.newest(pull)) is not None]
        waiting = [run.pull for run in newest if run.state is RunState.WAITING_BASE]
        return sorted(waiting, key=lambda pull: pull.number)

    def count(self) -> Mapping[str, int]:
        """Return how many runs are in each state."""
        with self._lock:
            return Counter(run.state.value for run in self._runs.values())


class MemoryHistory:
    """Observations in a dictionary: repository and key to time and observation."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[datetime, Observation]] = {}
        self._lock = threading.Lock()

    def remember(self, repo: str, observations: Sequence[Observation], at: datetime) -> None:
        """Keep the observations, each key of a repository once."""
        with self._lock:
            for one in observations:
                self._rows.setdefault((repo, one.key), (at, one))

    def records(
        self, repo: str, failures: Sequence[tuple[str, str]], since: datetime
    ) -> Mapping[tuple[str, str], Record]:
        """Return what is known of each check and fingerprint; unknown ones were never seen."""
        with self._lock:
            rows = [(at, one) for (where, _), (at, one) in self._rows.items() if where == repo]
        found: dict[tuple[str, str], list[tuple[datetime, bool]]] = {each: [] for each in failures}
        for at, one in rows:
            if at >= since and (one.check, one.fingerprint) in found:
                found[one.check, one.fingerprint].append((at, one.flaked))
        return {
            failure: Record(
                seen=len(seen),
                flaked=sum(flaked for _, flaked in seen),
                last_at=max((at for at, _ in seen), default=None),
            )
            for failure, seen in found.items()
        }

    def forget(self, before: datetime) -> int:
        """Remove what was observed *before*, and return how much that was."""
        with self._lock:
            old = [key for key, (at, _) in self._rows.items() if at < before]
            for key in old:
                del self._rows[key]
        return len(old)


class MemoryLedger:
    """Calls and accounts in dictionaries; `_open` and `_settled` know a call's accounts as well."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Call, Sequence[Account]]] = {}
        self._settled: dict[str, Call] = {}
        self._spending: dict[str, tuple[Spend, datetime]] = {}
        self._lock = threading.RLock()

    def reserve(self, call: Call, accounts: Sequence[Account]) -> Account | None:
        """Hold *call*'s cost back in every account, or return the one whose cap it would break."""
        amount = call.cost_nano or 0
        with self._lock:
            for account in sorted(accounts, key=lambda account: account.name):
                spend = self.spent(account.name)
                taken = spend.spent_nano + spend.held_nano + amount
                if amount and account.cap_nano is not None and taken > account.cap_nano:
                    return account
            self._open[call.id] = call, accounts
            self._count(accounts, spent=0, held=amount, at=call.at)
        return None

    def settle(self, call: Call) -> None:
        """Replace what was held back for *call* by what it cost."""
        with self._lock:
            if (reserved := self._open.pop(call.id, None)) is None:
                return
            first, accounts = reserved
            self._settled[call.id] = call
            held, spent = first.cost_nano or 0, call.cost_nano or 0
            self._count(accounts, spent=spent, held=-held, at=first.at)

    def spent(self, account: str) -> Spend:
        """Return what the account called *account* has spent and holds back."""
        with self._lock:
            return self._spending[account][0] if account in self._spending else Spend()

    def calls(self, run: str) -> Sequence[Call]:
        """Return the settled calls of a run, oldest first."""
        with self._lock:
            calls = [call for call in self._settled.values() if call.origin.run == run]
        return sorted(calls, key=lambda call: (call.at, call.id))

    def abandon(self, before: datetime) -> int:
        """Settle the open calls from before *before* at what was held back; return how many."""
        with self._lock:
            old = [call for call, _ in self._open.values() if call.at < before]
            for call in old:
                self.settle(call)
        return len(old)

    def forget(self, before: datetime) -> int:
        """Remove settled calls and idle accounts from before *before*; return how many calls."""
        with self._lock:
            old = [key for key, call in self._settled.items() if call.at < before]
            for key in old:
                del self._settled[key]
            for name, (spend, at) in list(self._spending.items()):
                if not spend.held_nano and at < before:
                    del self._spending[name]
        return len(old)

    def _count(self, accounts: Sequence[Account], *, spent: int, held: int, at: datetime) -> None:
        for name in {account.name for account in accounts}:
            before = self.spent(name)
            now = Spend(before.spent_nano + spent, before.held_nano + held)
            last = self._spending[name][1] if name in self._spending else at
            self._spending[name] = now, max(at, last)


class MemoryLanes:
    """Healths and standings in dictionaries, with the time of their last change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._healths: dict[str, tuple[Health, datetime]] = {}
        self._standings: dict[str, Standing] = {}
        self._probing: dict[str, datetime] = {}
        self._heard: dict[str, datetime] = {}
        self._lock = threading.RLock()

    def known(self, lanes: Sequence[str], chain: str = "") -> Known:
        """Return what is known of *lanes*, and the standing of *chain*."""
        with self._lock:
            healths = {key: self._healths[key][0] for key in lanes if key in self._healths}
            return Known(healths, self._standings.get(chain, Standing()))

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
        with self._lock:
            before = self.known(lanes, chain)
            if once and once in self._heard:
                return before
            after = change(before)
            self._heard |= {once: now} if once else {}
            changed = (
                key for key in after.healths if after.healths[key] != before.healths.get(key)
            )
            self._healths |= {key: (after.healths[key], now) for key in changed}
            self._standings |= {chain: after.standing} if chain else {}
        return after

    def claim(self, lane: str, now: datetime, until: datetime) -> bool:
        """Take the right to probe a lane until *until*, unless somebody has it."""
        with self._lock:
            if lane in self._probing and self._probing[lane] > now:
                return False
            self._probing[lane] = until
            return True

    def forget(self, before: datetime) -> int:
        """Remove the lanes and calls that nobody has touched since; return how many."""
        with self._lock:
            old = [key for key, (_, at) in self._healths.items() if at < before]
            for key in old:
                del self._healths[key]
            calls = [key for key, at in self._heard.items() if at < before]
            for key in calls:
                del self._heard[key]
        return len(old) + len(calls)


class MemoryAudit:
    """Audit events in a dictionary by key; details go through JSON as they do in a table."""

    def __init__(self, clock: Clock) -> None:
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def append(self, key: str, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Write the event unless *key* has been written before."""
        row = {
            "key": key,
            "at": self._clock.now(),
            "kind": kind,
            "subject": subject,
            "detail": msgspec.json.decode(msgspec.json.encode(dict(detail))),
        }
        with self._lock:
            self._rows.setdefault(key, row)

    def of(self, subject: str) -> Iterator[Mapping[str, Any]]:
        """Yield the subject's events in the order they were written: key, at, kind, detail."""
        with self._lock:
            rows = [row for row in self._rows.values() if row["subject"] == subject]
        yield from rows
