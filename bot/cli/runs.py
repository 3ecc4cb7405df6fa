"""`regreen runs list|show`: what the server has done, from its database."""

import json
import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.config import load
from bot.domain.errors import ConfigError
from bot.domain.runs import Run
from bot.domain.values import RunId
from bot.store import database as store
from bot.store.runs import SqlRuns

app = typer.Typer(no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command("list")
def list_runs(limit: int = 20, *, as_json: AsJson = False) -> None:
    """List the runs that changed last."""
    found = _runs().list(limit=limit)
    if as_json:
        json.dump(msgspec.to_builtins(found), sys.stdout, indent=2)
        return
    table = Table("run", "pull request", "state", "attempts", "changed (UTC)", "reason")
    for run in found:
        changed = f"{run.updated_at:%Y-%m-%d %H:%M:%S}"
        attempts = str(len(run.attempts))
        table.add_row(run.id, str(run.pull), run.state, attempts, changed, escape(run.reason))
    Console().print(table)


@app.command("show")
def show_run(run: str, *, as_json: AsJson = False) -> None:
    """Show one run with its attempts."""
    found = _runs().read(RunId(run))
    if found is None:
        raise ConfigError(f"there is no run {run}; `regreen runs list` shows those there are")
    if as_json:
        json.dump(msgspec.to_builtins(found), sys.stdout, indent=2)
        return
    _print(found)


def _print(run: Run) -> None:
    console = Console(highlight=False)
    console.print(
        f"[bold]{run.pull}[/] run {run.id}: {run.state} {escape(run.reason)}", soft_wrap=True
    )
    table = Table("attempt", "backend", "model", "result", "kind", "commit", "reason")
    for attempt in run.attempts:
        table.add_row(
            str(attempt.number),
            attempt.backend,
            attempt.model,
            attempt.result,
            ", ".join(attempt.types),
            (attempt.commit or "")[:10],
            escape(attempt.reason),
        )
    console.print(table)
    for attempt in run.attempts:
        if attempt.verification is not None:
            console.print(f"attempt {attempt.number}: {attempt.verification.artifact}")


def _runs() -> SqlRuns:
    server = load.server()
    return SqlRuns(store.connect(server.database_url, server.data_dir))
