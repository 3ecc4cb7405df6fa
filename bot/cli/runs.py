"""`regreen runs list|show`: what the server has done, from its database.

Lines instead of tables: ids stay whole on a narrow terminal, reasons may be long.
"""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from bot.cli import stored
from bot.config import load
from bot.domain.errors import ConfigError
from bot.domain.runs import Attempt, Run
from bot.domain.values import RunId
from bot.store.runs import SqlRuns

app = typer.Typer(add_completion=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List the runs that changed last; times are UTC."""
    found = _runs().list(limit=limit)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    console = _console()
    if not found:
        console.print("There are no runs yet.")
    for run in found:
        console.print(
            f"{run.id}  {run.updated_at:%Y-%m-%d %H:%M}  {run.state:<14}  {escape(str(run.pull))}"
        )
        _print_more(console, _counted(len(run.attempts)), run.reason)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="The run's id, as `runs list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one run with its attempts."""
    found = _found(run)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    _print(found, load.storage()[1])


@app.command("diff")
def show_diff(
    run: Annotated[str, typer.Argument(help="The run's id, as `runs list` shows it.")],
) -> None:
    """Print the change that waits for an approval, whole; else that of the newest attempt."""
    found = _found(run)
    attempt = found.attempts[-1].diff if found.attempts else ""
    typer.echo(found.gate.diff if found.gate else attempt)


def _found(run: str) -> Run:
    found = _runs().read(RunId(run))
    if found is None:
        raise ConfigError(f"there is no run {run}; `regreen runs list` shows those there are")
    return found


def _print(run: Run, data_dir: Path) -> None:
    console = _console()
    console.print(f"[bold]{escape(str(run.pull))}[/] run {run.id}: {run.state}")
    _print_more(console, _counted(len(run.attempts)), run.reason)
    for attempt in run.attempts:
        console.print(f"\nattempt {attempt.number}: {attempt.result}")
        _print_more(console, "by", _author(attempt))
        _print_more(console, "for", ", ".join(dict.fromkeys((*attempt.failing, *attempt.types))))
        _print_more(console, "because", attempt.reason)
        _print_more(console, "commit", attempt.commit or "")
        if attempt.verification is not None:
            _print_more(console, "proof", str(data_dir / attempt.verification.artifact))


def _author(attempt: Attempt) -> str:
    return f"{attempt.backend} ({attempt.model})" if attempt.model else attempt.backend


def _print_more(console: Console, name: str, value: str) -> None:
    if value:
        console.print(f"  [dim]{name}:[/] {escape(value)}")


def _counted(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _runs() -> SqlRuns:
    return SqlRuns(stored.opened())
