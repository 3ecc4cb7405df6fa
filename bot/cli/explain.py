"""`regreen explain RUN`: why a run did what it did, from the server's database."""

import json
from typing import Annotated, Any

import msgspec
import typer

from bot.cli import stored
from bot.domain.errors import ConfigError
from bot.domain.runs import Run
from bot.domain.values import RunId
from bot.repair.explain import explain_text
from bot.store.runs import SqlRuns

TOLD = ("id", "state", "reason", "asked_by", "upstream", "choices", "plans", "deltas")
OF_ATTEMPTS = (
    "number",
    "backend",
    "model",
    "fallback",
    "chosen",
    "tried",
    "result",
    "reason",
    "commit",
)


def command(
    run: Annotated[str, typer.Argument(help="The run's id, as `runs list` shows it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Print every choice of a run with what it went by and what came of it."""
    found = SqlRuns(stored.opened()).read(RunId(run))
    if found is None:
        raise ConfigError(f"there is no run {run}; `regreen runs list` shows those there are")
    typer.echo(json.dumps(told(found), indent=2) if as_json else explain_text(found), nl=as_json)


def told(run: Run) -> dict[str, Any]:
    """Return what `explain` tells of a run as plain values; the changes themselves are left out."""
    whole = msgspec.to_builtins(run)
    kept = {name: whole[name] for name in TOLD}
    attempts = [{name: one[name] for name in OF_ATTEMPTS} for one in whole["attempts"]]
    gates = [{name: gate[name] for name in gate if name != "diff"} for gate in whole["gates"]]
    return {**kept, "pull": str(run.pull), "attempts": attempts, "gates": gates}
