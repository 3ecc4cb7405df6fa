"""The command line; each command is a short module of its own."""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from bot.cli import (
    backends,
    classify,
    config,
    demo,
    doctor,
    explain,
    flaky,
    migrate,
    prune,
    replay,
    runs,
    serve,
    simulate,
    simulator,
)
from bot.domain.errors import BotError

app = typer.Typer(
    name="regreen",
    help="Turn red pull requests green.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve", help="Run the server: take in webhooks and repair pull requests.")(
    serve.command
)
app.command("demo", help="Watch six red pull requests become green, with no account and no key.")(
    demo.command
)
app.command("simulator", help="Serve local git repositories as a GitHub on loopback.")(
    simulator.command
)
app.command("simulate", help="Play backends that fail, in virtual time, and measure the routing.")(
    simulate.command
)
app.command("doctor", help="Check every prerequisite and say how to mend what is missing.")(
    doctor.command
)
app.command("classify", help="Say what failed in a CI log, and how sure that is.")(classify.command)
app.command("explain", help="Say why a run did what it did: every choice and its reasons.")(
    explain.command
)
app.command("flaky", help="List the tests that failed without cause.")(flaky.command)
app.command("migrate", help="Bring the database's tables up to date.")(migrate.command)
app.command("prune", help="Remove logs and artifacts that are over the limits.")(prune.command)
app.command("replay", help="Hand a stored delivery in again.")(replay.command)
app.add_typer(backends.app, name="backends", help="List the backends, and try them.")
app.add_typer(config.app, name="config", help="Check, show and explain the settings.")
app.add_typer(runs.app, name="runs", help="List and show runs.")


def main() -> None:
    """Run the command line; what a person can mend is told in a sentence, without a traceback."""
    try:
        app()
    except BotError as error:
        Console(stderr=True).print(
            f"[red]regreen:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(2)
