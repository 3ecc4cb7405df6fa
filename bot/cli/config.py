"""`regreen config check|show`: is the configuration valid, and what is in force by whose word."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bot.config import load
from bot.config.layers import Settings
from bot.config.schema import BackendName, Configuration
from bot.domain.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")

File = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The file; by default the one that the server would read."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def check(config: File = None) -> None:
    """Say whether the configuration is valid; exit with 1 when it is not."""
    found, _ = _read(config)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    policy = found.policy
    typer.echo(f"{found.source or 'no file'}: valid")
    typer.echo(f"primary: {_chain(policy.primary)}")
    typer.echo(f"fallback after {policy.fallback_after} attempts: {_chain(policy.fallback)}")
    typer.echo(f"planners: {_chain(policy.planners)}")
    typer.echo(f"analysts: {_chain(policy.analysts)}")
    typer.echo(f"reviewers: {_chain(policy.reviewers)}")


@app.command()
def show(config: File = None, *, as_json: Json = False) -> None:
    """Show every setting in force and who set it; secrets show as ***."""
    found, settings = _read(config)
    if as_json:
        typer.echo(json.dumps(_report(found, settings), indent=2))
        return
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    folder = f"{found.source.parent}/" if found.source else ""
    for key in settings:
        console.print(f"{key} = {_text(settings.value(key))}", end="  ")
        console.print(f"({settings.origin(key).removeprefix(folder)})", style="dim")


def _read(config: Path | None) -> tuple[Configuration, Settings]:
    try:
        return load.explained(config)
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _report(found: Configuration, settings: Settings) -> dict[str, Any]:
    return {
        "source": str(found.source) if found.source else None,
        "primary": [one.name for one in found.policy.primary],
        "fallback": [one.name for one in found.fallback],
        "settings": {
            key: {"value": _plain(settings.value(key)), "origin": settings.origin(key)}
            for key in settings
        },
        "warnings": list(found.warnings),
    }


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; what else it may be (a secret, a path) shows as text."""
    return json.loads(json.dumps(value, default=str))


def _text(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _chain(chain: Sequence[BackendName]) -> str:
    return " → ".join(f"{one.name} ({one.model})" for one in chain) or "none"
