"""Changes `llm_config.toml` as a careful person would: comments, order and other keys stay.

The new text is read by the full loader before it replaces the file, in one step, so that whoever
reads meanwhile sees the old file or the new one. One change is made at a time, also by several
processes. A file that somebody else changed in between is left alone.
"""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from bot.config import engines, load
from bot.config.build import build
from bot.config.document import Document, parse
from bot.config.engines import Edit, EngineSettings, Refusal, WantedSettings
from bot.config.layers import Settings
from bot.config.schema import BackendConfig
from bot.domain.errors import ConfigError, NeedsPerson

_WORD = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|\n')


class Changed(Exception):
    """The file is not the one that the caller has seen."""


@dataclass(frozen=True, slots=True)
class Read:
    """The engine settings as the file has them; `tag` is another one after every change."""

    settings: EngineSettings
    tag: str


@dataclass(frozen=True, slots=True)
class _State:
    """The file as it was read."""

    path: Path
    text: bytes
    file: Document
    backends: Mapping[str, BackendConfig]
    settings: Settings
    engines: EngineSettings

    @property
    def read(self) -> Read:
        return Read(self.engines, hashlib.sha256(self.text).hexdigest()[:32])


class EngineFile:
    """The engine settings of one configuration file; safe to use from several threads.

    Both methods read the file anew, and raise `ConfigError` when there is none or it is broken.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ

    def read(self) -> Read:
        """Return the settings in force."""
        return self._state().read

    def change(
        self,
        wanted: WantedSettings,
        *,
        seen: str = "",
        before: Callable[[Read, Read], None] = lambda _old, _new: None,
    ) -> Read:
        """Make *wanted* true, and return the settings then in force.

        *seen* is the tag that the caller goes by, empty for any. *before* is told of the change
        when it is known to be valid and all but made, and may forbid it by raising.

        Raises Refusal for what cannot be, Changed when the file is another one than was seen, and
        NeedsPerson when it cannot be written; then nothing has changed.
        """
        with self._alone():
            state = self._state()
            if seen not in {"", state.read.tag}:
                raise Changed
            wish = engines.merged(state.engines, wanted, state.backends)
            changes = engines.edits(state.file, state.engines, wish, state.settings)
            if not changes:
                return state.read
            new = self._checked(state, wish, changes)
            _replace(state, new.text, lambda: before(state.read, new.read))
            return new.read

    def _state(self, text: bytes | None = None) -> _State:
        """Read the file, or judge *text* as if it stood there."""
        source = load.locate(self._path, self._environ)
        if source is None:
            raise ConfigError(f"there is no {load.FILE}: see llm_config.example.toml")
        try:
            found = source.read_bytes() if text is None else text
            file = parse(found.decode(), str(source))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot be read: {error}") from error
        configuration, settings = build(file, self._environ)
        shown = engines.shown(file, configuration, settings)
        return _State(source, found, file, configuration.backends, settings, shown)

    def _checked(self, state: _State, wish: EngineSettings, changes: Sequence[Edit]) -> _State:
        """Return the changed file once the loader has read in it what was wished."""
        expected = engines.applied(state.file.values, changes)
        try:
            new = self._state(edited(state.text.decode(), changes).encode())
        except (ConfigError, TOMLKitError) as error:
            why = f"the file would not be valid: {error}"
            raise Refusal("chains", why) from error
        if new.file.values != expected:
            raise Refusal("chains", "the file is written in a way that cannot be changed by itself")
        for key, wanted, got in engines.difference(wish, new.engines):
            raise Refusal(key, _decided(key, wanted, got, new.settings))
        return new

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until nobody else changes the file; the lock lies on its folder."""
        source = load.locate(self._path, self._environ)
        folder = (source or Path()).resolve().parent
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def edited(text: str, changes: Sequence[Edit]) -> str:
    """Return *text* with the changes made, and everything else as it was."""
    document = tomlkit.parse(text)
    for change in changes:
        section, key = change.path
        if change.value is None:
            if section in document and key in document[section]:
                del document[section][key]
            continue
        if section not in document:
            if text.strip():
                document.add(tomlkit.nl())
            document[section] = tomlkit.table()
        table = document[section]
        value = change.value
        if isinstance(value, list):
            value = _array(value, table.get(key))
        table[key] = value
    return tomlkit.dumps(document)


def _array(names: Sequence[str], old: object) -> Array:
    """Return a list of names that keeps the comments of the one it replaces."""
    array = tomlkit.array()
    beside, alone = _comments(old.as_string()) if isinstance(old, Array) else ({}, [])
    lines = isinstance(old, Array) and "\n" in old.as_string()
    if not lines:
        array.extend(names)
        return array
    for comment in alone:
        array.add_line(comment=comment)
    for name in names:
        array.add_line(name, comment=beside.pop(name, None))
    for comment in beside.values():
        array.add_line(comment=comment)
    array.add_line(indent="")
    return array


def _comments(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the comments within a list: by the name on whose line they stand, and the others."""
    beside: dict[str, str] = {}
    alone: list[str] = []
    name = ""
    for word in _WORD.findall(text):
        if word == "\n":
            name = ""
        elif not word.startswith("#"):
            name = tomlkit.value(word).unwrap()
        elif name and name not in beside:
            beside[name] = word.removeprefix("#").strip()
        else:
            alone.append(word.removeprefix("#").strip())
    return beside, alone


def _decided(key: str, wanted: object, got: object, settings: Settings) -> str:
    """Say why a wish would not come true."""
    _, chain, field = key.split(".")
    keys = engines.ITERATIONS if field == "max_iterations" else engines.SWITCHES
    by = ""
    if (setting := keys.get(chain)) is not None and setting in settings:
        by = f" ({setting} is set by {settings.origin(setting)})"
    return f"it would be {got!r} and not {wanted!r}: another setting decides it{by}"


def _replace(state: _State, text: bytes, before: Callable[[], None]) -> None:
    """Put *text* in the file's place in one step, with its rights; a link stays a link.

    *before* is called when nothing but that step is left to do.
    """
    place = state.path.resolve()
    temporary = ""
    try:
        kept = place.stat()
        descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), kept.st_mode & 0o7777)
            with suppress(PermissionError):  # then it belongs to us, who may write here
                os.fchown(file.fileno(), kept.st_uid, kept.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        before()
        if place.read_bytes() != state.text:
            raise Changed
        Path(temporary).replace(place)
        temporary = ""
        _synced(place.parent)
    except OSError as error:
        raise NeedsPerson(f"{place} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
