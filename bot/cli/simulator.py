"""`regreen simulator`: a GitHub on loopback that serves local git repositories."""

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bot.simulator.hub import Limits
from bot.simulator.serve import SimOptions, Simulator
from bot.workspace.toolpath import host_path

DEFAULT_PEOPLE = ("owner=admin", "stranger=none")


def command(  # noqa: PLR0913 - one parameter per option
    *,
    repo: Annotated[list[str], typer.Option(help="owner/name=PATH of a local git repository.")],
    fork: Annotated[
        list[str] | None, typer.Option(help="owner/name=owner/name: a fork and its parent.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="Folder for repositories and key; else a temporary one.")
    ] = None,
    webhook: Annotated[str, typer.Option(help="Where deliveries go.")] = "",
    secret: Annotated[str, typer.Option(help="What deliveries are signed with.")] = "",
    person: Annotated[
        list[str] | None,
        typer.Option(help="login=none|read|write|admin; beside owner and stranger."),
    ] = None,
    private: Annotated[bool, typer.Option(help="Hide the repositories from strangers.")] = False,
    drop: Annotated[float, typer.Option(help="Share of deliveries that get lost, 0 to 1.")] = 0.0,
    duplicate: Annotated[float, typer.Option(help="Share of deliveries that come twice.")] = 0.0,
    reorder: Annotated[float, typer.Option(help="Share of deliveries out of order.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Makes the same trouble again.")] = 0,
    token_life: Annotated[float, typer.Option(help="Life of App tokens, in seconds.")] = 3600.0,
) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    people = dict(_pair(each, "login=permission") for each in (*DEFAULT_PEOPLE, *(person or ())))
    options = SimOptions(
        repos={name: Path(path) for name, path in (_pair(r, "owner/name=PATH") for r in repo)},
        forks=dict(_pair(each, "owner/name=owner/name") for each in fork or ()),
        people=people,
        path=host_path(),
        host=host,
        port=port,
        data=data,
        webhook_url=webhook,
        private=private,
        drop=drop,
        duplicate=duplicate,
        reorder=reorder,
        seed=seed,
        limits=Limits(token_s=token_life),
    )
    if secret:
        options = replace(options, webhook_secret=secret)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Simulator(options) as simulator:
            _tell(simulator)
            stop.wait()
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _pair(text: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise typer.BadParameter(f"{text} is not of the form {form}")
    return name, value


def _tell(simulator: Simulator) -> None:
    console = Console()

    def line(name: str, value: object) -> None:
        console.print(f"{name:<22} {value}", soft_wrap=True, highlight=False)

    line("GitHub (simulated)", simulator.url)
    line("REST API", f"{simulator.url} and {simulator.url}/api/v3")
    for repo in simulator.options.repos:
        line("repository", f"{simulator.url}/{repo}.git")
    line("App", f"{simulator.app_id} ({simulator.bot})")
    line("App's key", simulator.key_path)
    line("webhook secret", simulator.webhook_secret)
    for login, token in simulator.tokens.items():
        line(f"token of {login}", token)
    console.print("\nFor regreen serve:", soft_wrap=True)
    for name, value in {
        "REGREEN_APP_ID": simulator.app_id,
        "REGREEN_PRIVATE_KEY": simulator.key_path,
        "REGREEN_WEBHOOK_SECRET": simulator.webhook_secret,
        "REGREEN_GITHUB_URL": simulator.url,
    }.items():
        console.print(f"export {name}={value}", soft_wrap=True, highlight=False)
