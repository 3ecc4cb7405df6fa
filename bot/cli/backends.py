"""`regreen backends list|test`: what is configured, whether it is there, and whether it works."""

import difflib
import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from bot.backends import programs, roster
from bot.backends.programs import Program
from bot.backends.roster import Entry
from bot.cli.trials import Trial, trials
from bot.config import load
from bot.config.schema import Configuration
from bot.domain.errors import ConfigError, NeedsPerson
from bot.domain.ports import Sandbox
from bot.workspace import sandbox as sandboxes
from bot.workspace.toolpath import host_path

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Look at the backends, and try them."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
TRIAL_S = 180.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A lane with its program, None for one that needs none."""

    entry: Entry
    program: Program | None


@app.command("list")
def list_backends(*, as_json: AsJson = False) -> None:
    """List every lane: its jobs, its program, its key's origin and its endpoint."""
    found, settings = load.explained()
    listed = _listed(roster.entries(found, settings), found)
    if as_json:
        typer.echo(json.dumps([_row(one) for one in listed], indent=2))
        return
    console = _console()
    if not listed:
        console.print("No backend is configured: only the deterministic fixers can mend.")
    for one in listed:
        _print_entry(console, one, str(found.source.parent) if found.source else "")


@app.command("test")
def try_backends(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Which ones, or NAME/PROVIDER; by default all that are enabled."),
    ] = None,
    *,
    edit: Annotated[
        bool, typer.Option("--edit/--no-edit", help="Have each one mend a line; it costs tokens.")
    ] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one such edit.")] = TRIAL_S,
    as_json: AsJson = False,
) -> None:
    """Reach each endpoint and have each backend mend one line; exit with 1 when one fails."""
    found, settings = load.explained()
    chosen = _chosen(roster.entries(found, settings), names or [])
    console, failed = _console(), False
    told: list[dict[str, Any]] = []
    for trial in trials(found, chosen, edit=edit, within_s=timeout):
        failed |= not trial.ok
        if as_json:
            told.append(_told(trial))
        else:
            _print_trial(console, trial)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    elif not chosen:
        console.print("No backend is enabled: there is nothing to test.")
    raise typer.Exit(int(failed))


def _chosen(entries: tuple[Entry, ...], names: list[str]) -> list[Entry]:
    """Return those that are named, or all that may work; raise `ConfigError` for an unknown one."""
    if not names:
        return [one for one in entries if one.config.enabled]
    known = {name for one in entries for name in (one.name, one.lane)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ConfigError(f'there is no backend "{name}"; `regreen backends list`{hint}')
    return [one for one in entries if {one.name, one.lane} & set(names)]


def _listed(entries: tuple[Entry, ...], found: Configuration) -> list[Listed]:
    path = host_path()
    sandbox: Sandbox | str
    try:
        sandbox = sandboxes.choose(found.sandbox, path)
    except NeedsPerson as error:
        sandbox = str(error)
    seen: dict[str, Program] = {}
    for one in entries:
        name = programs.program(one.config, one.kind)
        if name and name not in seen:
            seen[name] = programs.look(name, path, sandbox)
    return [Listed(one, seen.get(programs.program(one.config, one.kind))) for one in entries]


def _row(listed: Listed) -> dict[str, Any]:
    one = listed.entry
    return {
        "name": one.name,
        "provider": one.provider,
        "tier": "fallback" if one.fallback else "primary",
        "kind": one.kind,
        "model": one.config.model,
        "enabled": one.config.enabled,
        "jobs": list(one.jobs),
        "program": msgspec.to_builtins(listed.program) if listed.program else None,
        "key": one.key,
        "key_set": bool(one.grant and one.grant.key),
        "endpoint": one.address,
        "api": one.grant.api.value if one.grant else None,
        "lacks": one.lacks,
    }


def _print_entry(console: Console, listed: Listed, folder: str) -> None:
    one = listed.entry
    off = "" if one.config.enabled else ", disabled"
    console.print(f"[bold]{escape(one.title)}[/]  {escape(f'{one.kind}, {one.config.model}')}{off}")
    lines = {
        "jobs": ", ".join(one.jobs) or "none",
        "program": _program(listed.program),
        "key": one.key.replace(f"{folder}/", "") if folder else one.key,
        "endpoint": one.address,
        "lacks": one.lacks,
    }
    for name, text in lines.items():
        if text:
            console.print(f"  [dim]{name:<9}[/]{escape(text)}")


def _program(program: Program | None) -> str:
    if program is None:
        return ""
    if not program.path:
        return f"{program.name} is not installed: {program.note}"
    note = f" ({program.note})" if program.note else ""
    return f"{program.name} {program.version}".strip() + f", {program.path}{note}"


def _told(trial: Trial) -> dict[str, Any]:
    one = trial.entry
    return {
        "name": one.name,
        "provider": one.provider,
        "tier": "fallback" if one.fallback else "primary",
        "kind": one.kind,
        "model": one.config.model,
        "ok": trial.ok,
        "reach": msgspec.to_builtins(trial.reach) if trial.reach else None,
        "edit": msgspec.to_builtins(trial.edit) if trial.edit else None,
    }


def _print_trial(console: Console, trial: Trial) -> None:
    one = trial.entry
    console.print(f"[bold]{escape(one.title)}[/]  {escape(f'{one.kind}, {one.config.model}')}")
    if trial.reach is None and trial.edit is None:
        console.print("  [dim]has no endpoint: only an edit would try it[/]")
    for name, part in (("endpoint", trial.reach), ("edit", trial.edit)):
        if part is None:
            continue
        sign = "[green]✓[/]" if part.ok else "[yellow]![/]" if trial.ok else "[red]✗[/]"
        console.print(f"  {sign} {name:<9}{escape(part.detail)}, {part.seconds:.2f} s")
        if name == "edit" and trial.edit and trial.edit.input_tokens + trial.edit.output_tokens:
            console.print(f"    [dim]{escape(trial.edit.spent)}[/]")
        if part.mend:
            console.print(f"    [dim]→ {escape(part.mend)}[/]")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
