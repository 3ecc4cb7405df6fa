"""`regreen serve`: the server."""

import sys
from enum import StrEnum
from typing import Annotated

import structlog
import typer
import uvicorn

from bot import app as composition
from bot.config import load
from bot.telemetry import logs


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def command(
    role: Annotated[
        composition.Role,
        typer.Option(help="What this process does; web and worker apart need PostgreSQL."),
    ] = composition.Role.ALL,
    log_format: Annotated[
        LogFormat, typer.Option(help="auto: console on a terminal, json elsewhere.")
    ] = LogFormat.AUTO,
) -> None:
    """Run until stopped by SIGTERM or Ctrl-C."""
    server = load.server()
    secrets = server.secrets
    logs.configure(secrets=secrets, log_format=log_format)
    log = structlog.get_logger("regreen")
    built = composition.build(server, role=role)
    log.info(
        "serving",
        url=f"http://{server.host}:{server.port}",
        github=server.github_url,
        database=built.database.name,
        role=role.value,
        environment=server.environment,
    )
    config = uvicorn.Config(
        built.web,
        host=server.host,
        port=server.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=15,
    )
    uvicorn_server = uvicorn.Server(config)
    uvicorn_server.run()
    sys.exit(0 if uvicorn_server.started else 3)
