"""Logs on standard error: for people on a terminal, one JSON object per line elsewhere.

structlog and the standard library's loggers end in the same handler, and the redaction stands right
before the renderer, so that nothing reaches the stream around it, tracebacks included.
"""

import logging
import sys
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.domain.values import Secret
from bot.telemetry.redact import redactor

QUIET = ("alembic", "httpx", "httpcore", "urllib3", "github.Requester", "sqlalchemy", "dbos")


class CancelledRuns(logging.Filter):
    """Drop the durable engine's tracebacks of cancelled work: superseding a run is ordinary."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record may pass."""
        error = record.exc_info[1] if record.exc_info else None
        return "Cancelled" not in type(error).__name__


def configure(
    *,
    secrets: Sequence[Secret] = (),
    log_format: str = "",
    level: str = "INFO",
    stream: TextIO | None = None,
) -> None:
    """Send all logs to *stream*; `log_format` is console, json, or empty to choose by itself."""
    stream = sys.stderr if stream is None else stream
    console = log_format == "console" or (log_format != "json" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(CancelledRuns())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redaction(secrets),
                _renderer(console=console, colors=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _adopt(level)


def _adopt(level: str) -> None:
    """Make other libraries' loggers speak through the root, and only of what matters."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "dbos"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]


def _redaction(secrets: Sequence[Secret]) -> Processor:
    redact = redactor(secrets)

    def process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {str(key): redact(value) for key, value in event.items()}

    return process


def _renderer(*, console: bool, colors: bool) -> Processor:
    if console:
        return structlog.dev.ConsoleRenderer(
            colors=colors, timestamp_key="at", exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.processors.JSONRenderer(sort_keys=False)
