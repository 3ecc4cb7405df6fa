"""Tries backends: reaches their endpoints, and has them mend one line as the server would.

The edit runs in the sandbox and through a gateway of its own, whose ledger is the server's: what a
trial costs counts against the caps of the day, and a cap that is reached refuses it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from bot.backends import trial
from bot.backends.registry import Registry
from bot.backends.roster import Entry
from bot.config import load
from bot.config.schema import Configuration
from bot.domain.answers import Answer, Ending
from bot.domain.models import Origin
from bot.domain.ports import Clock, Sandbox, Terms
from bot.domain.values import PullRef, Value
from bot.gateway.chat import Chat
from bot.gateway.reach import reach
from bot.gateway.server import Gateway
from bot.runtime.clock import SystemClock
from bot.store import database as store
from bot.store.ledger import SqlLedger
from bot.store.migrate import migrate
from bot.telemetry.redact import redactor
from bot.workspace import sandbox as sandboxes
from bot.workspace.toolpath import host_path

REPO = "regreen/backends-test"  # what its calls are counted for; no such repository is touched
CHANGE = "this model is too weak for the job, or its options keep it from editing files"
_MENDS: Mapping[Ending, str] = {
    Ending.AUTH: "give a key that is valid there: {key}",
    Ending.USAGE_LIMIT: "the account is out of credit or quota: top it up, or wait",
    Ending.RATE_LIMITED: "the endpoint asks for fewer calls: wait a little",
    Ending.BUDGET: "a cap of [budget] is reached: `regreen config explain budget`",
    Ending.NOT_FOUND: "check `model` ({model}) and `base_url` in {place}, and that the "
    "program is installed: `regreen backends list`",
    Ending.NETWORK: "check `base_url` in {place} ({address}), and this machine's network",
    Ending.UNAVAILABLE: "the endpoint has an outage: try again later",
    Ending.TIMEOUT: "the endpoint or the model is slow: try again, or allow more by --timeout",
    Ending.CONTEXT_EXCEEDED: "the model takes too little text: choose a larger one",
    Ending.REFUSED: "the model refuses plain code: choose another one",
    Ending.INVALID: "check that `base_url` in {place} ({address}) is the API's, with its version",
    Ending.DISK_FULL: "make room on the disk of temporary files",
    Ending.TOOL_FAILED: "run the program by hand with these options, and see what it says",
    Ending.KILLED: "it was ended from outside: look at the memory of this machine",
}


class Reach(Value, frozen=True):
    """Whether the endpoint answers; `models` is how many it lists, None where it lists none."""

    ok: bool
    ending: str
    detail: str
    mend: str
    seconds: float = 0.0
    models: int | None = None


class Edit(Value, frozen=True):
    """Whether the line was mended; `ending` is how the call ended."""

    ok: bool
    ending: str
    detail: str
    mend: str
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None

    @property
    def spent(self) -> str:
        """What it took, in words."""
        cost = "no price is configured" if self.cost_usd is None else f"${self.cost_usd:.4f}"
        return f"{self.input_tokens} tokens in, {self.output_tokens} out, {cost}"


@dataclass(frozen=True, slots=True)
class Trial:
    """One lane's trial; a part that does not apply, or was not asked for, is None."""

    entry: Entry
    reach: Reach | None
    edit: Edit | None

    @property
    def ok(self) -> bool:
        """Whether it works; one that mends does, whatever its endpoint says of its models."""
        parts = [part for part in (self.edit, self.reach) if part is not None]
        return parts[0].ok if parts else not self.entry.lacks


class _Quiet:
    """A telemetry that tells nobody: who tries a backend reads the answer."""

    def event(self, kind: str, **labels: str) -> None: ...
    def took(self, kind: str, duration: timedelta, **labels: str) -> None: ...


def trials(
    found: Configuration, entries: Sequence[Entry], *, edit: bool, within_s: float
) -> Iterator[Trial]:
    """Yield a trial of each, one after the other; raise NeedsPerson without a sandbox.

    Without an endpoint that answers, or without a key, no edit is tried.
    """
    with ExitStack() as stack:
        editor = stack.enter_context(_editor(found)) if edit and entries else None
        for one in entries:
            reached = _reached(one)
            hopeless = one.lacks or (reached is not None and reached.ending == Ending.NETWORK)
            done = None if editor is None or hopeless else editor.edit(one, within_s)
            yield Trial(one, reached, done)


@dataclass(frozen=True, slots=True)
class _Editor:
    """What an edit takes, as the server has it."""

    found: Configuration
    sandbox: Sandbox
    gateway: Gateway
    clock: Clock
    where: Path

    def edit(self, entry: Entry, within_s: float) -> Edit:
        """Have the backend mend the line through this lane, and say how it went."""
        found = _impatient(self.found, entry, within_s)
        registry = Registry(lambda: found, self.sandbox, Chat(), gateway=self.gateway)
        pull = PullRef(REPO, int(self.clock.now().timestamp()))
        origin = Origin(f"test-{uuid4().hex[:12]}", 1, pull, REPO.partition("/")[0], entry.name)
        with trial.scratch(self.where) as tree:
            answer = registry.run(
                entry.name,
                fallback=entry.fallback,
                task=trial.task(pull),
                tree=tree,
                stop=lambda: False,
                terms=Terms(origin=origin, provider=entry.provider),
            )
            wrong, others = trial.judged(tree), trial.others(tree)
        return _edit(entry, answer, wrong, others)


@contextmanager
def _editor(found: Configuration) -> Iterator[_Editor]:
    url, where = load.storage()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock, sandbox = SystemClock(), sandboxes.choose(found.sandbox, host_path(), where)
    database = store.connect(url, where)
    try:
        migrate(database)
        gateway = Gateway(SqlLedger(database), clock, _Quiet())
        gateway.start()
        try:
            yield _Editor(found, sandbox, gateway, clock, where)
        finally:
            gateway.stop()
    finally:
        database.close()


def _impatient(found: Configuration, entry: Entry, within_s: float) -> Configuration:
    """Return the configuration with this lane alone, which gives up at once instead of waiting."""
    config = replace(
        entry.config,
        enabled=True,
        timeout_s=min(entry.config.timeout_s or within_s, within_s),
        max_retries=0,
        usage_limit_retry_count=0,
    )
    config = replace(config, ways={entry.provider: config} if entry.provider else {})
    if entry.fallback:
        return replace(found, fallback=(config,))
    return replace(found, backends={**found.backends, entry.name: config})


def _reached(entry: Entry) -> Reach | None:
    """Return whether the endpoint answers, None for a backend that has none."""
    grant = entry.grant
    if grant is None and not entry.lacks:
        return None
    if grant is None:
        return Reach(ok=False, ending=Ending.AUTH, detail=entry.lacks, mend=entry.key)
    got = reach(grant.api, grant.base_url, grant.key)
    mend = _unlisted(entry, got.models) if got.ending is None else _mend(entry, got.ending)
    return Reach(
        ok=got.ending is None,
        ending=got.ending or "",
        detail=_clean(entry, got.detail),
        mend=mend,
        seconds=got.seconds,
        models=None if got.models is None else len(got.models),
    )


def _unlisted(entry: Entry, models: Sequence[str] | None) -> str:
    """Say that the model is not among those that are listed: an alias need not be."""
    model = entry.config.model
    if not models or model in models or model in {entry.name, entry.config.backend_type}:
        return ""
    near = difflib.get_close_matches(model, models, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'"{model}" is not among them{hint}'


def _edit(entry: Entry, answer: Answer, wrong: str, others: Sequence[str]) -> Edit:
    edited = answer.ending in {Ending.EDITED, Ending.NO_CHANGE}
    ok = edited and not wrong
    detail = answer.detail or answer.ending.value
    if edited:
        detail = wrong or f"{trial.FILE} was mended as asked"
        detail += f", {answer.detail}" if wrong and answer.detail else ""
        detail += f" ({_instead(answer)})" if _instead(answer) else ""
        detail += f"; it also made {', '.join(others)}" if others else ""
    usage = answer.usage
    mend = _mend(entry, answer.ending) if not edited else CHANGE if wrong else ""
    return Edit(
        ok,
        answer.ending,
        _clean(entry, detail),
        mend,
        usage.seconds,
        usage.input_tokens,
        usage.output_tokens,
        usage.cost_usd,
    )


def _clean(entry: Entry, text: str) -> str:
    """Return a detail on one line, without keys."""
    keys = (entry.config.api_key, entry.config.openai_api_key)
    return str(redactor([key for key in keys if key is not None])(" ".join(text.split())))


def _instead(answer: Answer) -> str:
    """Return why the model was asked for a patch instead of the agent, if that was so."""
    reason, found, _ = answer.detail.partition(" was asked for a patch")
    return f"{reason}{found}" if found else ""


def _mend(entry: Entry, ending: Ending) -> str:
    if ending is Ending.NOT_FOUND and entry.grant is None:
        return "put its program on the PATH of Regreen"
    return _MENDS.get(ending, "").format(
        key=entry.key, model=entry.config.model, place=entry.place, address=entry.address
    )
