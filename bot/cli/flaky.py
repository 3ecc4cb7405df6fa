"""`regreen flaky`: the tests that failed without cause, from the server's database."""

import json
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from bot.cli import stored
from bot.store.history import FlakyTest, SqlHistory


def command(
    repo: Annotated[str, typer.Option(help="Only those of this repository: owner/name.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """List the tests that failed and then passed without a change, worst first; times are UTC."""
    found = _flaky(repo, limit)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print("No flaky test is known.")
    for one in found:
        where = f"{one.check} of {one.repo}"
        console.print(f"{one.rate:4.0%}  {escape(one.test or one.check)}")
        console.print(
            f"      flaky in {one.flaked} of {one.seen} failures, "
            f"last {one.last_at:%Y-%m-%d %H:%M}, [dim]{escape(where)}[/]"
        )


def _flaky(repo: str, limit: int) -> list[FlakyTest]:
    database = stored.opened()
    try:
        return list(SqlHistory(database).flaky(repo or None, limit=limit))
    finally:
        database.close()
