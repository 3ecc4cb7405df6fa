"""`regreen doctor`: every prerequisite, whether it is met, and how to mend it."""

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bot.config import load
from bot.config.schema import Configuration, SandboxConfig, Server
from bot.domain.errors import BotError, NeedsPerson
from bot.domain.values import Value
from bot.github.connect import connect
from bot.runtime.clock import SystemClock
from bot.store import database as store
from bot.store.migrate import pending
from bot.workspace import git
from bot.workspace import sandbox as sandboxes
from bot.workspace.cleanup import Cleaner
from bot.workspace.toolpath import host_path

FREE_MB = 1024
TOOLS = ("ruff", "prettier", "eslint", "gofmt", "cargo")


class Health(StrEnum):
    """How a prerequisite is."""

    OK = "ok"
    NOTE = "note"  # works, with less
    FAILED = "failed"


class Finding(Value, frozen=True):
    """One prerequisite; `mend` says what to do when it is not met."""

    name: str
    health: Health
    detail: str
    mend: str = ""


def command(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False
) -> None:
    """Check all; exit with 1 when something that the server needs is missing."""
    findings = list(examine())
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(findings), indent=2))
    else:
        _print(findings)
    raise typer.Exit(int(any(finding.health is Health.FAILED for finding in findings)))


def examine() -> Iterator[Finding]:
    """Look at everything, one after the other; what depends on a broken part is left out."""
    yield Finding("Python", Health.OK, sys.version.split()[0])
    yield _git()
    yield _tools()
    try:
        server = load.server()
    except BotError as error:
        yield Finding("environment", Health.FAILED, str(error), "see docs/configuration.md")
        yield from _configured(None)
        return
    yield Finding("environment", Health.OK, f"App {server.app_id}, {server.environment}")
    yield from _configured(server)
    yield _disk(server)
    yield from _database(server)
    yield _port(server)
    yield from _github(server)


def _git() -> Finding:
    try:
        return Finding("git", Health.OK, git.version())
    except NeedsPerson as error:
        return Finding("git", Health.FAILED, str(error), "install it, or a newer one")


def _sandbox(config: SandboxConfig, where: Path | None) -> Iterator[Finding]:
    try:
        sandbox = sandboxes.choose(config, host_path(), where if where and where.is_dir() else None)
    except NeedsPerson as error:
        yield Finding("sandbox", Health.FAILED, str(error))
        return
    if sandbox.name == "none":
        detail = "none: the code of pull requests runs with the rights of the server"
        yield Finding("sandbox", Health.NOTE, detail, 'driver = "bubblewrap" under [sandbox]')
        return
    yield Finding("sandbox", Health.OK, f"{sandbox.name}, no network, tried from inside")
    for note in sandbox.notes():
        yield Finding("sandbox", Health.NOTE, note, "docs/sandbox.md")


def _tools() -> Finding:
    here = [tool for tool in TOOLS if shutil.which(tool, path=host_path())]
    missing = [tool for tool in TOOLS if tool not in here]
    if not missing:
        return Finding("fixers", Health.OK, ", ".join(here))
    return Finding(
        "fixers",
        Health.NOTE,
        f"found {', '.join(here) or 'none'}; not found: {', '.join(missing)}",
        "install those that your repositories use",
    )


def _configured(server: Server | None) -> Iterator[Finding]:
    path = server.config_path if server is not None else None
    try:
        configuration = load.configuration(path)
    except BotError as error:
        yield Finding("llm_config.toml", Health.FAILED, str(error), "regreen config check")
        return
    if configuration.source is not None:
        yield Finding("llm_config.toml", Health.OK, str(configuration.source))
    for warning in configuration.warnings:
        yield Finding("llm_config.toml", Health.NOTE, warning)
    yield _backends(configuration)
    yield from _sandbox(configuration.sandbox, server.data_dir if server is not None else None)


def _backends(configuration: Configuration) -> Finding:
    primary = ", ".join(f"{one.name} ({one.model})" for one in configuration.policy.primary)
    fallback = ", ".join(one.model for one in configuration.policy.fallback)
    if not primary:
        return Finding(
            "backends",
            Health.NOTE,
            "none: only the fixers mend",
            "add [backend] and [backends.*] as in llm_config.example.toml",
        )
    return Finding("backends", Health.OK, f"{primary}; fallback: {fallback or 'none'}")


def _disk(server: Server) -> Finding:
    try:
        server.data_dir.mkdir(parents=True, exist_ok=True)
        free_mb = shutil.disk_usage(server.data_dir).free // 2**20
        probe = server.data_dir / ".doctor"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        mend = "set REGREEN_DATA_DIR to a folder that this user may write"
        return Finding("data folder", Health.FAILED, str(error), mend)
    health = Health.OK if free_mb >= FREE_MB else Health.NOTE
    detail = f"{server.data_dir}, {free_mb} MB free"
    if waiting := len(Cleaner(server.data_dir).waiting()):
        detail += f", {waiting} to be removed"
    return Finding("data folder", health, detail)


def _database(server: Server) -> Iterator[Finding]:
    try:
        database = store.connect(server.database_url, server.data_dir)
        reason = database.reach() or pending(database)
        name = database.name
        database.close()
    except BotError as error:
        yield Finding("database", Health.FAILED, str(error), "check REGREEN_DATABASE_URL")
        return
    if reason:
        yield Finding("database", Health.NOTE, f"{reason} (`regreen serve` does it too)")
        return
    yield Finding("database", Health.OK, name)


def _port(server: Server) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            mend = "another server runs there, or set REGREEN_HOST and REGREEN_PORT"
            detail = f"{server.host}:{server.port}: {error.strerror}"
            return Finding("port", Health.NOTE, detail, mend)
    return Finding("port", Health.OK, f"{server.host}:{server.port} is free")


def _github(server: Server) -> Iterator[Finding]:
    github = connect(server, SystemClock())
    try:
        who = github.whoami()
        yield Finding("GitHub App", Health.OK, f"{who.name} at {server.github_url}")
        for name, level in who.missing_permissions.items():
            detail = f"the permission {name}: {level} is missing"
            yield Finding("GitHub App", Health.FAILED, detail, f"{who.url} → Permissions")
        for event in who.missing_events:
            detail = f"the App is not subscribed to {event}"
            yield Finding("GitHub App", Health.FAILED, detail, f"{who.url} → Subscribe to events")
        repos = github.repos.installed()
        health = Health.OK if repos else Health.NOTE
        mend = "" if repos else f"install the App on a repository: {who.url}/installations/new"
        count = "1 repository" if len(repos) == 1 else f"{len(repos)} repositories"
        yield Finding("installations", health, count, mend)
    except BotError as error:
        mend = "check REGREEN_APP_ID, REGREEN_PRIVATE_KEY, REGREEN_GITHUB_URL and the network"
        yield Finding("GitHub App", Health.FAILED, f"{server.github_url}: {error}", mend)
    finally:
        github.close()


def _print(findings: list[Finding]) -> None:
    signs = {Health.OK: "[green]✓[/]", Health.NOTE: "[yellow]![/]", Health.FAILED: "[red]✗[/]"}
    table = Table.grid(
        Column(), Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0)
    )
    for finding in findings:
        table.add_row(signs[finding.health], finding.name, escape(finding.detail))
        if finding.mend and finding.health is not Health.OK:
            table.add_row("", "", f"[dim]→ {escape(finding.mend)}[/]")
    Console(highlight=False).print(table)
