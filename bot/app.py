"""The composition root: the only code that builds adapters. `build` is a parts list.

Three roles share it: `web` takes in deliveries, `worker` does the work, `all` is both in one
process, which is the default and all that a SQLite database allows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import version

import structlog
from starlette.applications import Starlette
from starlette.routing import Route

from bot.backends import endpoints
from bot.backends.registry import Registry, kind
from bot.config.load import environment
from bot.config.rewrite import EngineFile
from bot.config.schema import Configuration, SandboxConfig, Server
from bot.config.watch import Watched
from bot.domain.errors import ConfigError
from bot.domain.models import Grant, Origin
from bot.domain.ports import Audit, Clock, Node, Ports, Runs, Sandbox
from bot.domain.values import PullRef, Secret
from bot.gateway.chat import Chat
from bot.gateway.probe import HttpProbes
from bot.gateway.server import Gateway
from bot.github.connect import GitHub, connect
from bot.runtime.clock import SystemClock
from bot.runtime.dispatch import Dispatcher
from bot.runtime.engine import Engine
from bot.runtime.inbox import Inbox
from bot.runtime.interpreter import Interpreter
from bot.runtime.lanes import healths
from bot.runtime.leases import Heartbeat
from bot.runtime.prober import Prober
from bot.runtime.sweep import Sweeper
from bot.runtime.workflows import Repairs
from bot.store import database as store
from bot.store.audit import SqlAudit
from bot.store.deliveries import SqlDeliveries
from bot.store.history import SqlHistory
from bot.store.lanes import SqlLanes
from bot.store.ledger import SqlLedger
from bot.store.migrate import migrate, pending
from bot.store.nodes import node as become_node
from bot.store.runs import SqlRuns
from bot.telemetry import sentry
from bot.telemetry.metrics import PrometheusTelemetry
from bot.telemetry.outgoing import guarded
from bot.web.api import approvals, classify, engine_settings
from bot.web.api import runs as run_routes
from bot.web.app import Application, application
from bot.web.refusals import Refusals
from bot.web.webhooks import Webhooks
from bot.workspace import sandbox as sandboxes
from bot.workspace.artifacts import SandboxFacts
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.cleanup import Cleaner
from bot.workspace.retention import Retention
from bot.workspace.setup import Setup
from bot.workspace.toolpath import host_path
from bot.workspace.upkeep import Upkeep
from bot.workspace.worktree import GitTrees, Reuse
from handlers import payloads

BOT, NO_REPLY = "regreen[bot]", "users.noreply.github.com"


class Role(StrEnum):
    """What a process does."""

    ALL = "all"
    WEB = "web"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts that do the work; started and stopped together."""

    gateway: Gateway
    engine: Engine
    dispatcher: Dispatcher
    sweeper: Sweeper
    prober: Prober
    heartbeat: Heartbeat

    async def start(self) -> None:
        """Recover, then take work."""
        self.heartbeat.start()
        self.gateway.start()
        await self.engine.start()
        self.dispatcher.start()
        self.sweeper.start()
        self.prober.start()

    async def stop(self) -> None:
        """Take no more work, let running steps end, let go of the node's name."""
        await self.prober.stop()
        await self.sweeper.stop()
        await self.dispatcher.stop()
        await self.engine.stop()
        await asyncio.to_thread(self.gateway.stop)
        self.heartbeat.stop()


@dataclass(frozen=True, slots=True)
class App:
    """A server ready to be run by uvicorn."""

    web: Application
    database: store.Database
    ports: Ports
    github: GitHub
    worker: Worker | None


def build(
    server: Server,
    *,
    role: Role = Role.ALL,
    clock: Clock | None = None,
    report: Callable[[str], None] | None = None,
    wrap: Callable[[Ports], Ports] = lambda ports: ports,
) -> App:
    """Build every part; nothing runs before the application's lifespan begins.

    *wrap* may put something around the ports that the work goes through.

    Raises ConfigError or NeedsPerson with what is missing and how to mend it.
    """
    clock = clock or SystemClock()
    report = report or structlog.get_logger("regreen").warning
    if role is not Role.ALL and server.database_url.startswith("sqlite"):
        raise ConfigError(
            f"--role {role} needs a database that several processes can share: "
            "set REGREEN_DATABASE_URL to a PostgreSQL database, or use --role all"
        )
    # Long: a parts list, in the order in which the parts need each other.
    watched = Watched(server.config_path, report=report)
    configuration = watched.current()
    for warning in configuration.warnings:
        report(warning)
    sentry.configure(
        server.sentry_dsn,
        environment=server.environment,
        release=version("regreen"),
        secrets=server.secrets,
    )
    database = store.connect(server.database_url, server.data_dir)
    migrate(database)
    deliveries, runs = SqlDeliveries(database), SqlRuns(database)
    lanes = SqlLanes(database, clock)
    telemetry = PrometheusTelemetry(
        runs.count, lambda: healths(lanes, clock.now(), watched.current().policy)
    )
    github = connect(server, clock, seconds_between_writes=configuration.policy.write_pause_s)
    sandbox = _sandbox(configuration.sandbox, server, role)
    for note in sandbox.notes():
        report(f"sandbox: {note}")
    cleaner = Cleaner(server.data_dir)
    trees = GitTrees(
        server.data_dir,
        name=BOT,
        email=f"{server.app_id}+{BOT}@{NO_REPLY}",
        cleaner=cleaner,
        reuse=Reuse(each=0) if sandbox.name == "none" else None,
    )
    trees.sweep()
    setup = Setup(sandbox, server.data_dir, config=configuration.sandbox, cleaner=cleaner)
    upkeep = Upkeep(
        cleaner.round,
        trees.tidy,
        setup.round,
        Retention(server.data_dir, lambda: watched.current().retention).round,
    )
    ledger = SqlLedger(database)
    gateway = None if role is Role.WEB else Gateway(ledger, clock, telemetry)
    ports = guarded(
        Ports(
            pulls=github.pulls,
            checks=github.checks,
            comments=github.comments,
            repos=github.repos,
            trees=trees,
            gatekeeper=LocalGatekeeper(
                sandbox, server.data_dir, setup, _facts(sandbox, configuration.sandbox)
            ),
            backends=Registry(
                watched.current,
                sandbox,
                Chat(),
                gateway=gateway,
                homes=server.data_dir / "homes",
            ),
            probes=HttpProbes(partial(_granted, watched.current)),
            deliveries=deliveries,
            runs=runs,
            history=SqlHistory(database),
            ledger=ledger,
            lanes=lanes,
            audit=SqlAudit(database, clock),
            clock=clock,
            telemetry=telemetry,
        ),
        lambda: (*server.secrets, *watched.current().secrets),
    )
    ports = wrap(ports)
    worker = (
        None
        if gateway is None
        else _worker(server, ports, watched, database, sandbox, gateway, upkeep)
    )
    inbox = Inbox(ports.deliveries, arrived=worker.dispatcher.arrived if worker else lambda: None)
    refusals = Refusals(ports.audit, clock)
    web = application(
        Webhooks(
            inbox,
            secrets=server.webhook_secrets,
            clock=clock,
            telemetry=telemetry,
            refusals=refusals,
        ),
        health={
            "database": database.reach,
            "migrations": lambda: pending(database),
            "worker": lambda: _worker_reason(worker),
            "sandbox": lambda: sandbox.missing() or "",
        },
        metrics=telemetry.render,
        lifespan=_lifespan(inbox, worker, trees, database, github),
        routes=api_routes(
            server.api_token,
            runs=runs,
            inbox=inbox,
            clock=clock,
            file=EngineFile(server.config_path, environment()),
            audit=ports.audit,
        ),
        refusals=refusals,
    )
    return App(web, database, ports, github, worker)


def api_routes(
    token: Secret | None,
    *,
    runs: Runs,
    inbox: Inbox,
    clock: Clock,
    file: EngineFile,
    audit: Audit,
) -> Sequence[Route]:
    """Return every route of the API, or none without a *token* that callers must bear."""
    return (
        *classify.routes(token, clock),
        *run_routes.routes(token, read_run=runs.read, inbox=inbox, clock=clock),
        *approvals.routes(token, by_gate=runs.by_gate, inbox=inbox, clock=clock),
        *engine_settings.routes(token, file, audit),
    )


def _worker(
    server: Server,
    ports: Ports,
    watched: Watched,
    database: store.Database,
    sandbox: Sandbox,
    gateway: Gateway,
    upkeep: Upkeep,
) -> Worker:
    configuration: Configuration = watched.current()
    node: Node = become_node(database)
    repairs = Repairs(
        ports,
        Interpreter(ports, sandbox.name),
        lambda: watched.current().policy,
        "main",
        workers=configuration.sandbox.workers,
    )
    engine = Engine(
        repairs,
        node,
        url=database.url,
        engine=database.durable_engine(),
    )
    dispatcher = Dispatcher(
        ports.deliveries,
        lambda event, body: payloads.parse(event, body, app_id=server.app_id),
        engine.take,
        ports.telemetry,
        ports.audit,
    )
    sweeper = Sweeper(
        ports,
        take=engine.take,
        rescue=engine.rescue,
        forget=engine.forget,
        tidy=upkeep.round,
        every_s=configuration.policy.sweep_s,
        rescue_s=configuration.policy.rescue_s,
    )
    prober = Prober(ports, lambda: watched.current().policy)
    return Worker(gateway, engine, dispatcher, sweeper, prober, Heartbeat(node))


def _granted(
    current: Callable[[], Configuration], backend: str, provider: str, *, fallback: bool
) -> Grant | None:
    """Return the way to a backend's models, None where it has no API of its own."""
    configuration = current()
    named = {one.name: one for one in configuration.fallback} if fallback else {}
    config = named.get(backend) or configuration.backends.get(backend)
    way = config.through(provider) if config is not None else None
    if way is None or kind(way) not in {"patch_worker", *endpoints.AGENTS}:
        return None
    origin = Origin("", 0, PullRef("", 0), "", backend, provider)
    granted = endpoints.grant(way, kind(way), origin, configuration)
    return granted if isinstance(granted, Grant) else None


def _sandbox(config: SandboxConfig, server: Server, role: Role) -> sandboxes.Driver:
    """Choose the sandbox; a process that only takes in deliveries runs nothing and needs none.

    It is tried from inside once, here: a server whose sandbox does not hold does not start.
    """
    if role is Role.WEB:
        return sandboxes.NoSandbox(config, host_path())
    server.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return sandboxes.choose(config, where=server.data_dir)


def _facts(sandbox: Sandbox, config: SandboxConfig) -> SandboxFacts:
    """Return what artifacts tell of the sandbox; without one the machine's network is there."""
    network = "host" if sandbox.name == "none" else "none"
    return SandboxFacts(sandbox.name, network, config.memory_mb, config.processes)


def _worker_reason(worker: Worker | None) -> str:
    return "" if worker is None or worker.dispatcher.alive else "the dispatcher does not run"


def _lifespan(
    inbox: Inbox,
    worker: Worker | None,
    trees: GitTrees,
    database: store.Database,
    github: GitHub,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await inbox.start()
        if worker is not None:
            await worker.start()
        try:
            yield
        finally:
            await inbox.stop()
            if worker is not None:
                await worker.stop()
            await asyncio.to_thread(trees.close)
            github.close()
            database.close()

    return lifespan
