"""`regreen prune`: remove logs and artifacts that are over the limits of `[retention]`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bot.config import load
from bot.domain.errors import NeedsPerson
from bot.runtime.clock import SystemClock
from bot.workspace.retention import Pruned, Retention

NAMES = {"logs": "logs", "features": "artifacts"}


def command(
    *,
    include_artifacts: Annotated[
        bool, typer.Option("--include-artifacts", help="The gatekeeper's artifacts as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Prune the data folder once; the server does so by itself, every hour."""
    _, data_dir = load.storage()
    limits = load.configuration().retention
    artifacts = include_artifacts or limits.prune_artifacts
    try:
        done = Retention(data_dir, lambda: limits).prune(
            SystemClock().now(), artifacts=artifacts, dry=dry_run
        )
    except OSError as error:
        raise NeedsPerson(f"{error.filename or data_dir} stays: {error.strerror}") from error
    console = Console(highlight=False, soft_wrap=True)
    for kind in done:
        if dry_run:
            for one in kind.removed:
                console.print(escape(one.path))
        console.print(_told(kind, dry_run=dry_run))


def _told(kind: Pruned, *, dry_run: bool) -> str:
    verb = "would be removed" if dry_run else "removed"
    freed = sum(one.size for one in kind.removed) / 2**20
    return (
        f"{NAMES[kind.kind]}: {len(kind.removed)} {verb} ({freed:.1f} MB), "
        f"{kind.files} kept ({kind.size / 2**20:.1f} MB)"
    )
