"""`regreen classify FILE|-`: what failed, read from a log."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.domain.values import Signal
from bot.failures.classify import classify_all
from bot.failures.taxonomy import requires_replan


def as_json(signals: tuple[Signal, ...], source: str) -> dict[str, Any]:
    """Return the root cause with the keys of `failure_signal`, and the runners-up."""
    root = signals[0]
    return {
        "type": root.type,
        "confidence": root.confidence,
        "source": source,
        "message": root.message,
        "evidence": [msgspec.to_builtins(evidence) for evidence in root.evidence],
        "severity": root.severity,
        "can_retry": root.can_retry,
        "requires_replan": requires_replan(signals),
        "retry_after_s": root.retry_after_s,
        "locations": [msgspec.to_builtins(place) for place in root.locations],
        "fingerprint": root.fingerprint,
        "metadata": {
            "tool": root.tool,
            "rule": root.rule,
            "others": [
                {"type": other.type, "confidence": other.confidence, "message": other.message}
                for other in signals[1:]
            ],
        },
    }


def show(signals: tuple[Signal, ...], console: Console) -> None:
    """Print the root cause for people: kind, sentence, deciding lines, places, runners-up."""
    root = signals[0]
    console.print(f"[bold]{root.type}[/bold] ({root.confidence:.0%}) {escape(root.message)}")
    facts = [
        f"severity {root.severity}",
        "worth a retry" if root.can_retry else "a retry is no use",
    ]
    facts += [f"rule {root.rule}"] if root.rule else []
    facts += [f"fingerprint {root.fingerprint}"]
    console.print("[dim]" + escape(" · ".join(facts)) + "[/dim]")
    lines = Table(box=None, show_header=False, pad_edge=False)
    for evidence in root.evidence:
        lines.add_row(f"[dim]{evidence.line}[/dim]", escape(evidence.text))
    console.print(lines)
    for place in root.locations[:10]:
        where = f"{place.path}:{place.line}" if place.line else place.path
        console.print(f"  {escape(where)} {escape(place.message)}")
    for other in signals[1:]:
        console.print(
            f"[dim]also {other.type} ({other.confidence:.0%}): {escape(other.message)}[/dim]"
        )


def command(
    file: Annotated[str, typer.Argument(help="A log file, or - for standard input.")] = "-",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,  # noqa: FBT002 (a command-line switch)
) -> None:
    """Say what kind of failure a CI log tells of, and which lines say so."""
    if file == "-":
        log = sys.stdin.buffer.read()
    else:
        try:
            log = Path(file).read_bytes()
        except OSError as error:
            typer.echo(f"cannot read {file}: {error.strerror}", err=True)
            raise typer.Exit(2) from error
    signals = classify_all(log)
    if json:
        typer.echo(msgspec.json.encode(as_json(signals, file)).decode())
        return
    show(signals, Console())
