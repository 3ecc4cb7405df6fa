"""The command line; each command is a short module of its own, imported when it is called.

Together they import all of the product and its libraries, which takes longer than most commands do.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from bot.domain.errors import BotError

# Each names its module, which has a `command`, or an `app` with commands of its own.
COMMANDS: Mapping[str, str] = {
    "serve": "Run the server: take in webhooks and repair pull requests.",
    "demo": "Watch six red pull requests become green, with no account and no key.",
    "simulator": "Serve local git repositories as a GitHub on loopback.",
    "simulate": "Play backends that fail, in virtual time, and measure the routing.",
    "doctor": "Check every prerequisite and say how to mend what is missing.",
    "classify": "Say what failed in a CI log, and how sure that is.",
    "explain": "Say why a run did what it did: every choice and its reasons.",
    "flaky": "List the tests that failed without cause.",
    "migrate": "Bring the database's tables up to date.",
    "prune": "Remove logs and artifacts that are over the limits.",
    "replay": "Hand a stored delivery in again.",
    "routing": "Show how the backends are, and who would work next and why.",
    "backends": "List the backends, and try them.",
    "config": "Check, show and explain the settings.",
    "runs": "List and show runs.",
}


class Commands(TyperGroup):
    """Imports a command's module when it is called, or told of."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- the library's signature
        """Return the names in the order in which `--help` shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command by its name, None for one that does not exist."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bot.cli.{cmd_name}")
        own = getattr(module, "app", None)
        if own is None:
            own = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            own.command(cmd_name)(module.command)
        command = typer.main.get_command(own)
        command.name, command.help = cmd_name, COMMANDS[cmd_name]
        return command


app = typer.Typer(
    name="regreen",
    help="Turn red pull requests green.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _regreen() -> None:
    """Turn red pull requests green."""


def main() -> None:
    """Run the command line; what a person can mend is told in a sentence, without a traceback."""
    try:
        app()
    except BotError as error:
        Console(stderr=True).print(
            f"[red]regreen:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(2)
