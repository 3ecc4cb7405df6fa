"""`GET|PUT /api/engine-settings?project=`: the engine chains of autocoder (seed 1).

The file of the server holds for all projects, so `project` only names, in the audit trail, on whose
behalf a change was made. A change goes into the file, where it takes effect like one by hand; what
is not about chains cannot be asked for, so a bearer of the token can set neither a key nor a
command. `ETag` and `If-Match` keep two callers from overwriting each other.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol
from uuid import uuid4

import msgspec
import structlog
from starlette.routing import Route

from bot.config.engines import EngineChain, EngineSettings, Refusal, WantedSettings
from bot.config.rewrite import Changed, Read
from bot.domain.errors import ConfigError, NeedsPerson
from bot.domain.ports import Audit
from bot.domain.values import Secret
from bot.web.api.endpoints import Call, Refused, Told, endpoint

PATH = "/api/engine-settings"
EXAMPLE = '{"version": 2, "chains": {"review": {"enabled": true, "engines": ["claude"]}}}'
EVERYBODY = "all projects"
CHANGED = "the settings have changed since they were read: read them again"

Project = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
log = structlog.get_logger("regreen")


class File(Protocol):
    """What holds the settings; see `bot.config.rewrite.EngineFile`."""

    def read(self) -> Read: ...
    def change(
        self, wanted: WantedSettings, *, seen: str = "", before: Callable[[Read, Read], None]
    ) -> Read: ...


class Shown(msgspec.Struct, frozen=True):
    """The settings in force; `scope` says for whom."""

    version: int
    project: str
    scope: str
    chains: dict[str, EngineChain]


def routes(token: Secret | None, file: File, audit: Audit) -> Sequence[Route]:
    """Return the two routes, or none without a *token* that callers must bear."""
    if token is None:
        return ()

    async def get(call: Call) -> object:
        project = _project(call)
        try:
            return _told(await asyncio.to_thread(file.read), project)
        except ConfigError as error:
            raise Refused(409, str(error)) from error

    async def put(call: Call) -> object:
        project, seen = _project(call), _seen(call)
        wanted = wish(call.body)
        read = await asyncio.to_thread(_change, file, audit, wanted, seen, project)
        return _told(read, project)

    return (
        endpoint(PATH, get, token=token, method="GET"),
        endpoint(PATH, put, token=token, method="PUT"),
    )


def _change(file: File, audit: Audit, wanted: WantedSettings, seen: str, project: str) -> Read:
    """Make the change, once the audit trail has it; what then goes wrong stands there too."""
    change, noted = str(uuid4()), False

    def note(old: Read, new: Read) -> None:
        nonlocal noted
        audit.append(change, "engine_settings.changed", PATH, _detail(project, old, new))
        noted = True

    try:
        read = file.change(wanted, seen=seen, before=note)
    except Refusal as refusal:
        raise Refused(422, f"{refusal.key}: {refusal}", key=refusal.key) from refusal
    except (Changed, ConfigError, NeedsPerson) as error:
        lost = isinstance(error, Changed)
        why = CHANGED if lost else str(error)
        if noted:
            detail = {"project": project, "reason": why}
            audit.append(f"{change}.failed", "engine_settings.failed", PATH, detail)
        raise Refused(412 if lost else 409, why) from error
    if noted:
        log.info("engine_settings_changed", project=project, change=change)
    return read


def wish(body: bytes) -> WantedSettings:
    """Return what is asked for; raise `Refused` with 400 for no JSON, 422 for what does not fit."""
    if not body.strip():
        raise Refused(400, f"the body is empty; it must look like {EXAMPLE}")
    try:
        return msgspec.json.decode(body, type=WantedSettings)
    except RecursionError as error:
        raise Refused(400, "the body is nested too deeply") from error
    except msgspec.ValidationError as error:
        why, _, at = str(error).partition(" - at `$")
        key = at.removesuffix("`").removeprefix(".") or "the body"
        raise Refused(422, f"{key}: {why}", key=key) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body is no JSON: {error}; it must look like {EXAMPLE}") from error


def _project(call: Call) -> str:
    try:
        return msgspec.convert(call.query.get("project", ""), Project)
    except msgspec.ValidationError as error:
        raise Refused(400, "project must be the name of a project") from error


def _seen(call: Call) -> str:
    """Return the tag that the caller goes by, empty for any."""
    given = call.headers.get("if-match", "").strip()
    if given in {"", "*"}:
        return ""
    return given.removeprefix("W/").strip('"') or "none"


def _told(read: Read, project: str) -> Told:
    shown = Shown(read.settings.version, project, EVERYBODY, read.settings.chains)
    return Told(shown, {"etag": f'"{read.tag}"', "cache-control": "no-store"})


def _detail(project: str, old: Read, new: Read) -> Mapping[str, Any]:
    return {
        "project": project,
        "before": _changed(old.settings, new.settings),
        "after": _changed(new.settings, old.settings),
        "etag_before": old.tag,
        "etag_after": new.tag,
    }


def _changed(one: EngineSettings, other: EngineSettings) -> dict[str, Any]:
    """Return the chains of *one* that are others in *other*."""
    return {
        name: msgspec.to_builtins(chain)
        for name, chain in one.chains.items()
        if chain != other.chains[name]
    }
