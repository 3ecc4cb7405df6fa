"""`regreen classify FILE|-`: what failed, read from a log."""

import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.config.load import configuration
from bot.domain.errors import ConfigError
from bot.domain.values import Signal
from bot.failures import evidence
from bot.failures.classify import classify_all
from bot.failures.taxonomy import requires_replan

JSON_LINE = 64 << 20  # bytes of the longest line of a bulk request


class Request(msgspec.Struct, frozen=True):
    """One line of `--jsonl`; other keys are given back as they are, but for the text."""

    text: str
    id: str | int | None = None
    step: str = ""


def as_json(signals: tuple[Signal, ...], source: str) -> dict[str, Any]:
    """Return the root cause with the keys of `failure_signal`, and why, and the runners-up."""
    root = signals[0]
    return {
        "type": root.type,
        "confidence": root.confidence,
        "source": source,
        "message": root.message,
        "evidence": [msgspec.to_builtins(one) for one in root.evidence],
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
                {
                    "type": other.type,
                    "confidence": other.confidence,
                    "rule": other.rule,
                    "line": other.evidence[0].line if other.evidence else None,
                    "message": other.message,
                }
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
    for one in root.evidence:
        lines.add_row(f"[dim]{one.line}[/dim]", escape(one.text))
    console.print(lines)
    for place in root.locations[:10]:
        console.print(f"  {escape(place.path)}:{place.line} {escape(place.message)}")
    for other in signals[1:]:
        console.print(
            f"[dim]also {other.type} ({other.confidence:.0%}): {escape(other.message)}[/dim]"
        )


def explain(signals: tuple[Signal, ...], console: Console) -> None:
    """Print why: for each kind that was considered its rule, its confidence, its first line."""
    table = Table("kind", "confidence", "rule", "line", "what it says", box=None, pad_edge=False)
    for signal in signals:
        first = signal.evidence[0] if signal.evidence else None
        table.add_row(
            signal.type,
            f"{signal.confidence:.2f}",
            signal.rule or "(the command, or nothing)",
            str(first.line) if first else "",
            escape(first.text) if first else "",
        )
    console.print(table)


def bulk(lines: BinaryIO, custom: evidence.Table | None) -> None:
    """Answer each line of *lines*, an object with `text`, with one signal on a line."""
    decoder = msgspec.json.Decoder(Request)
    number = 0
    while line := lines.readline(JSON_LINE):
        number += 1
        if not line.strip():
            continue
        try:
            request = decoder.decode(line)
        except msgspec.DecodeError as error:
            typer.echo(f"line {number}: {error}", err=True)
            raise typer.Exit(2) from error
        told = as_json(classify_all(request.text, step=request.step, custom=custom), "")
        if request.id is not None:
            told = {"id": request.id, **told}
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


def command(
    file: Annotated[str, typer.Argument(help="A log file, or - for standard input.")] = "-",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Read an object with `text` per line, answer each.")
    ] = False,
    why: Annotated[bool, typer.Option("--explain", help="Say which rules spoke.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="Where llm_config.toml is, for its patterns.")
    ] = None,
) -> None:
    """Say what kind of failure a CI log tells of, and which lines say so."""
    try:
        custom = evidence.custom_table(configuration(config).policy.patterns) if config else None
        log: BinaryIO = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115 -- closed below
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"cannot read {file}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    with log:
        if jsonl:
            bulk(log, custom)
            return
        signals = classify_all(log, custom=custom)
    if json:
        typer.echo(msgspec.json.encode(as_json(signals, file)).decode())
        return
    show(signals, Console())
    if why:
        explain(signals, Console())
