"""`regreen config check|show|explain`: is it valid, what holds by whose word, and why."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from bot.config import load
from bot.config.explained import Book, Explained
from bot.config.layers import Settings
from bot.config.schema import BackendName, Configuration
from bot.domain.errors import ConfigError
from bot.telemetry.redact import redactor

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at the configuration.")

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


@app.command()
def explain(
    key: Annotated[
        str, typer.Argument(help="A setting, such as retry.cap_s; or a section, for all of it.")
    ],
    config: File = None,
    *,
    as_json: Json = False,
) -> None:
    """Say what a setting is, who set it and what it means; exit with 2 when it is unknown."""
    found, settings = _read(config)
    book = Book(load.document(found.source), found, settings)
    told = [_redacted(one) for one in book.look_up(key)]
    if not told:
        near = difflib.get_close_matches(key, (*book.keys, *_sections(book)), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        typer.echo(f"error: {key} is no setting{hint}", err=True)
        raise typer.Exit(2)
    if as_json:
        plain = [_plain(msgspec.to_builtins(one, enc_hook=str)) for one in told]
        typer.echo(json.dumps(plain, indent=2))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    folder = f"{found.source.parent}/" if found.source else ""
    if about := book.about(key):
        console.print(about, end="\n\n")
    if len(told) == 1:
        _print_one(console, told[0], folder)
        return
    for one in told:
        if one.origin:
            console.print(f"{one.key} = {_text(one.value)}", end="  ")
            console.print(f"({_by(one, folder)})", style="dim")
            console.print(f"    {_meant(one)}")
    if unset := [one.key.rpartition(".")[2] for one in told if not one.origin]:
        console.print(f"not set: {', '.join(unset)}", style="dim")


def _redacted(one: Explained) -> Explained:
    """Return it without what looks like a secret: options may hold one, too."""
    redact = redactor()
    over = tuple((redact(value), by) for value, by in one.over)
    return replace(one, value=redact(one.value), over=over)


def _print_one(console: Console, one: Explained, folder: str) -> None:
    console.print(f"{one.key} = {_text(one.value)}" if one.origin else f"{one.key} is not set")
    lines = {
        "set by": _by(one, folder),
        "over": "; ".join(f"{_text(value)} ({by.removeprefix(folder)})" for value, by in one.over),
        "means": _meant(one),
        "holds": one.allowed,
        "default": one.default,
        "also set by": ", ".join(one.variables),
        "note": "; ".join(note.removeprefix(folder) for note in one.notes),
    }
    for name, text in lines.items():
        if text:
            console.print(f"  {name + ':':<12} {text}")


def _meant(one: Explained) -> str:
    unit = f", in {one.unit}" if one.unit and one.unit not in one.meaning else ""
    return f"{one.meaning}{unit}"


def _by(one: Explained, folder: str) -> str:
    inherited = f", inherited from {one.inherited}" if one.inherited else ""
    return f"{one.origin.removeprefix(folder)}{inherited}"


def _sections(book: Book) -> set[str]:
    return {key.rpartition(".")[0] for key in book.keys}


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
