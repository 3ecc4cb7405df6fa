"""What the shells call. Each Protocol is small, blocking, and safe to call from any thread.

Errors: a port raises `TryLater` when the same call may work later, `NeedsPerson` when a permission
or setting is missing, `Gone` when its object does not exist, `Broken` when a reply makes no sense.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from bot.domain.answers import Answer
from bot.domain.health import Known
from bot.domain.health import Observation as Seen
from bot.domain.models import Account, Call, Grant, Origin, Spend
from bot.domain.runs import Fence, Run
from bot.domain.values import (
    Card,
    Check,
    Command,
    CommandResult,
    Comment,
    Counted,
    Ground,
    Observation,
    Pull,
    PullRef,
    Question,
    Record,
    Remote,
    RunId,
    Sha,
    Task,
    Value,
    Verification,
)

# --- GitHub -----------------------------------------------------------------------------------


class Pulls(Protocol):
    """Pull requests, as GitHub has them now."""

    def read(self, ref: PullRef) -> Pull: ...
    def open(self, repo: str) -> Sequence[Pull]: ...


class Checks(Protocol):
    """The checks of a commit (never our own), and our own check run."""

    def at(self, repo: str, head: Sha) -> Sequence[Check]: ...
    def log(self, repo: str, check: Check) -> bytes: ...
    def rerun(self, repo: str, checks: Sequence[Check]) -> None: ...
    def show(self, card: Card) -> None: ...


class Comments(Protocol):
    """The comments of pull requests. `all` reads every page; `post` never repeats blindly."""

    def all(self, pull: PullRef) -> Sequence[Comment]: ...
    def read(self, pull: PullRef, comment: int) -> Comment: ...
    def post(self, pull: PullRef, body: str) -> int: ...
    def edit(self, pull: PullRef, comment: int, body: str) -> None: ...
    def react(self, pull: PullRef, comment: int, reaction: str) -> None: ...


class Repos(Protocol):
    """Files, people and git access of repositories."""

    def file(self, repo: str, path: str, ref: str) -> str | None: ...
    def permission(self, repo: str, login: str) -> str: ...
    def tip(self, repo: str, branch: str) -> Sha: ...
    def remote(self, repo: str, *, write: bool) -> Remote: ...
    def installed(self) -> Sequence[str]: ...


# --- Workspace --------------------------------------------------------------------------------


class Tree(Protocol):
    """An isolated tree without `.git`, made for one use."""

    @property
    def path(self) -> Path: ...
    def diff(self) -> str: ...
    def apply(self, diff: str) -> None: ...


class Trees(Protocol):
    """Mirrors, trees and commits of repositories; the only road to git.

    `offer` puts a scratch branch at a commit, whatever it held; `withdraw` deletes one.
    """

    def open(self, repo: str, head: Sha, remote: Remote) -> AbstractContextManager[Tree]: ...
    def files(
        self, repo: str, commit: Sha, remote: Remote, paths: Sequence[str]
    ) -> Mapping[str, str]: ...
    def commit(
        self, repo: str, parent: Sha, diff: str, message: str, at: datetime, remote: Remote
    ) -> Sha: ...
    def restore(
        self, repo: str, parent: Sha, like: Sha, message: str, at: datetime, remote: Remote
    ) -> Sha: ...
    def push(self, repo: str, branch: str, commit: Sha, lease: Sha, remote: Remote) -> str: ...
    def offer(self, repo: str, branch: str, commit: Sha, remote: Remote) -> str: ...
    def withdraw(self, repo: str, branch: str, remote: Remote) -> str: ...


@dataclass(frozen=True, slots=True)
class Watch:
    """When a running command is given up before its time is over.

    After `quiet_s` without a word, after `most_bytes` of output, or when it has printed `circle`
    for the twentieth time: the words of a program that goes round in circles.
    """

    quiet_s: float | None = None
    most_bytes: int | None = None
    circle: str = ""


@dataclass(frozen=True, slots=True)
class Kit:
    """What an agent gets besides the tree.

    `home` is a folder of the host that becomes its home folder, instead of a new and empty one.
    `socket` is a Unix socket of the host, which it finds at the URL that `Sandbox.reach` yields.
    `shown` is a folder of the host that it may read; the sandbox says where.
    """

    home: Path | None = None
    socket: Path | None = None
    watch: Watch = Watch()
    shown: Path | None = None


NO_KIT = Kit()


class Sandbox(Protocol):
    """Runs a command over a tree, without network, within limits; `stop` is asked every second.

    Within the block of `reach`, a command whose kit holds the socket finds it at that URL.
    """

    @property
    def name(self) -> str: ...
    def reach(self, socket: Path) -> AbstractContextManager[str]: ...
    def run(
        self,
        command: Sequence[str],
        tree: Path,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        stop: Callable[[], bool] = ...,
        kit: Kit = ...,
    ) -> "Finished": ...


class Finished(Value, frozen=True):
    """How a sandboxed command ended; output is capped, head and tail kept.

    `fault` says why it was killed, "" when it ended by itself; a command that is silent for too
    long has timed out, one that prints without end is endless. `cpu_s` and `max_rss_mb` are the
    time that it and its waited-for children computed and the memory of the largest of them, None
    where that is not known, as for the memory of a command that is over in a moment.
    """

    exit_code: int
    output: str
    seconds: float
    timed_out: bool = False
    stopped: bool = False
    endless: bool = False
    fault: str = ""
    cpu_s: float | None = None
    max_rss_mb: float | None = None


class Gatekeeper(Protocol):
    """Runs the project's commands over a tree and writes the artifact, whatever their end.

    `run` is for one more command, in any tree: `verify` does nothing else for each of its own.
    `tests` asks the runners behind the commands which tests they have in a tree, and runs none
    where it can; with `ran` the commands have just been run there.
    """

    def run(self, tree: Path, command: Command, stop: Callable[[], bool]) -> CommandResult: ...

    def verify(
        self,
        tree: Path,
        commands: Sequence[Command],
        stop: Callable[[], bool],
        ground: Ground = ...,
    ) -> Sequence[CommandResult]: ...
    def tests(
        self,
        tree: Path,
        commands: Sequence[Command],
        stop: Callable[[], bool],
        ground: Ground = ...,
        *,
        ran: bool,
    ) -> Sequence[Counted]: ...
    def record(self, run: str, verification: Verification, at: datetime) -> str: ...


# --- Backends ---------------------------------------------------------------------------------


class Terms(Value, frozen=True):
    """On what terms a backend works.

    With a `question` it is asked that and nothing else, and shall change nothing. `resume` is the
    `Answer.session` of an earlier call of the same backend, to go on from there; where that is not
    possible it starts anew. `origin` says on whose account its calls go. `provider` names the one
    of its providers that is to be used, "" for its own.
    """

    question: str = ""
    resume: str = ""
    origin: Origin | None = None
    provider: str = ""


ORDINARY = Terms()


class Backends(Protocol):
    """The backends of the configuration, by name, and `fixers`."""

    def run(
        self,
        backend: str,
        *,
        fallback: bool,
        task: Task,
        tree: Path,
        stop: Callable[[], bool],
        terms: Terms = ...,
    ) -> Answer: ...
    def consult(
        self,
        backend: str,
        *,
        question: Question,
        tree: Path,
        within_s: float,
        stop: Callable[[], bool],
        terms: Terms = ...,
    ) -> Answer: ...


class Door(Protocol):
    """A grant's way to its API: a Unix socket that speaks HTTP, and the calls that came through.

    `calls` are those that have ended, in that order; it may be asked at any time, also afterwards.
    """

    @property
    def socket(self) -> Path: ...
    def calls(self) -> Sequence[Call]: ...


class Gateway(Protocol):
    """The one road to model APIs. A door is there within the block; its end cuts what is open."""

    def open(self, grant: Grant) -> AbstractContextManager[Door]: ...


class Probes(Protocol):
    """Asks a lane whether it is there, without work and at no cost; None where it cannot be asked.

    Every end within *timeout_s* is an answer; nothing is raised.
    """

    def probe(
        self, backend: str, provider: str, *, fallback: bool, timeout_s: float
    ) -> Seen | None: ...


# --- Store ------------------------------------------------------------------------------------


class Delivery(Value, frozen=True):
    """One webhook POST as received; `body` is the raw bytes."""

    guid: str
    event: str
    action: str
    body: bytes
    received_at: datetime


class Deliveries(Protocol):
    """The durable inbox. `accept` commits before it returns, and returns how many were new.

    `settle` ends a delivery as done, ignored, malformed or failed; `forget` removes settled ones.
    """

    def accept(self, batch: Sequence[Delivery]) -> int: ...
    def waiting(self, limit: int) -> Sequence[Delivery]: ...
    def settle(self, guid: str, state: str, note: str = "") -> None: ...
    def read(self, guid: str) -> Delivery: ...
    def keep_malformed(self, delivery: Delivery) -> None: ...
    def forget(self, before: datetime) -> int: ...


class Runs(Protocol):
    """Runs and the fences of their pull requests.

    `fence` of an unknown pull request is generation 0 with no head. `advance` raises the generation
    when the head is another one; `bump` whatever the head, but the same key only once; `stop` says
    that a person wants the work to end. `attempts_since` counts the attempts begun on a pull
    request, `waiting_for_base` names those of a repository that wait for their base branch,
    `by_gate` finds the run that asked for an approval.
    """

    def fence(self, pull: PullRef) -> Fence: ...
    def advance(self, pull: PullRef, head: Sha, reason: str) -> Fence: ...
    def bump(self, pull: PullRef, reason: str, *, key: str, stop: bool = False) -> Fence: ...
    def by_gate(self, gate: str) -> Run | None: ...
    def newest(self, pull: PullRef) -> Run | None: ...
    def save(self, run: Run) -> None: ...
    def list(self, *, limit: int = 50) -> Sequence[Run]: ...
    def read(self, run: RunId) -> Run | None: ...
    def attempts_since(self, pull: PullRef, since: datetime) -> int: ...
    def waiting_for_base(self, repo: str) -> Sequence[PullRef]: ...


class History(Protocol):
    """Which failures turned out to be flaky; `records` answers by check and fingerprint.

    The same observation is kept once. What was seen before `since` counts no more.
    """

    def remember(self, repo: str, observations: Sequence[Observation], at: datetime) -> None: ...
    def records(
        self, repo: str, failures: Sequence[tuple[str, str]], since: datetime
    ) -> Mapping[tuple[str, str], Record]: ...
    def forget(self, before: datetime) -> int: ...


class Ledger(Protocol):
    """What calls of models cost. A call is held back for at its estimate, then settled, once.

    `reserve` returns the account whose cap the call would break, and then has changed nothing.
    `settle` of a call that is not open has no effect. `abandon` settles at their estimates the
    calls from before *before* that nobody will settle any more; `forget` removes settled ones and
    accounts that nothing was counted in since.
    """

    def reserve(self, call: Call, accounts: Sequence[Account]) -> Account | None: ...
    def settle(self, call: Call) -> None: ...
    def spent(self, account: str) -> Spend: ...
    def calls(self, run: str) -> Sequence[Call]: ...
    def abandon(self, before: datetime) -> int: ...
    def forget(self, before: datetime) -> int: ...


class Lanes(Protocol):
    """The health of lanes and the standings of chains, as all workers know them.

    `update` hands what is known to `change` and stores what that returns, in one transaction: no
    worker undoes what another has seen. With a `once` that was used before, nothing changes.
    `claim` gives the right to probe a lane to one caller, until *until*. `forget` removes what
    nobody has touched since.
    """

    def known(self, lanes: Sequence[str], chain: str = "") -> Known: ...
    def update(
        self,
        lanes: Sequence[str],
        chain: str,
        change: Callable[[Known], Known],
        *,
        once: str = "",
    ) -> Known: ...
    def claim(self, lane: str, now: datetime, until: datetime) -> bool: ...
    def forget(self, before: datetime) -> int: ...


class Audit(Protocol):
    """An append-only account of what was decided and done; the same key is written once."""

    def append(self, key: str, kind: str, subject: str, detail: Mapping[str, Any]) -> None: ...
    def of(self, subject: str) -> Iterator[Mapping[str, Any]]: ...


class Node(Protocol):
    """This process among those that share a database; its `name` is held by it alone.

    `holds` says whether that is still so. `takeover` yields whether another node is dead, and keeps
    it from coming back while its work is taken over.
    """

    @property
    def name(self) -> str: ...
    def holds(self) -> bool: ...
    def takeover(self, name: str) -> AbstractContextManager[bool]: ...
    def release(self) -> None: ...


# --- The rest ---------------------------------------------------------------------------------


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime: ...


class Telemetry(Protocol):
    """Where the shells report; one call counts and logs."""

    def event(self, kind: str, **labels: str) -> None: ...
    def took(self, kind: str, duration: timedelta, **labels: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the shells may touch."""

    pulls: Pulls
    checks: Checks
    comments: Comments
    repos: Repos
    trees: Trees
    gatekeeper: Gatekeeper
    backends: Backends
    probes: Probes
    deliveries: Deliveries
    runs: Runs
    history: History
    ledger: Ledger
    lanes: Lanes
    audit: Audit
    clock: Clock
    telemetry: Telemetry
