"""The providers of `provider_metadata.toml`: other ways to the models that `llm_config.toml` names.

`[qwen.azure]` is the provider `azure` of the backend `qwen`, of those whose `backend_type` is qwen,
and `[azure]` of every backend that lists it. Auto-coder exports the keys in capitals to the agent.
Here the gateway holds keys and addresses, so those that name the API's key, address or model say
what the backend's own keys of that meaning say; another secret goes nowhere; the rest is exported.
`${NAME}` in a value is a variable of the server.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bot.config import shapes
from bot.config.document import Document, KeyPath
from bot.domain.errors import ConfigError

FILE = "provider_metadata.toml"
OPENROUTER = "https://openrouter.ai/api/v1"  # https://openrouter.ai/docs/quickstart
KEYS = frozenset({"api_key", "openai_api_key"})
ADDRESSES = frozenset({"base_url", "openai_base_url"})
_PROXY = frozenset({"command", "args"})  # what auto-coder would start in front of the API
_TOLD = frozenset({"description", *_PROXY})
# Keys whose values an agent sees.
_SHOWN = frozenset({"options", "options_for_noedit", "options_for_resume", "settings"})
# What a name in capitals means: QWEN_API_KEY, AZURE_ENDPOINT, OPENAI_API_BASE, QWEN_MODEL.
_KEY = re.compile(r"(?:^|_)(?:API_KEY|(?<!O)AUTH_TOKEN)$")
_ADDRESS = re.compile(r"_(?:BASE_URL|API_BASE|ENDPOINT)$")
_MODEL = re.compile(r"[A-Z0-9]+_MODEL")
_SECRET = re.compile(r"(?:^|_)(?:KEY|O?(?:AUTH_?)?TOKEN|SECRET|PASSWORD|CREDENTIALS?)$")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider changes, as keys of a backend, and where each was said.

    `env` is among them: the variables that the agent gets.
    """

    values: Mapping[str, Any]
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The providers of a file by their dotted names, and where each stands."""

    file: Document
    paths: Mapping[str, KeyPath]

    def place(self, names: Iterable[str]) -> KeyPath | None:
        """Return where the first of these names that there is stands."""
        return next((self.paths[name] for name in names if name in self.paths), None)

    def of(self, backend: str, backends: Iterable[str]) -> tuple[str, ...]:
        """Return the providers that stand below *backend*, one of *backends*."""
        owners = sorted(backends, key=len, reverse=True)  # grok-4.1 before grok-4
        found = (
            (next((one for one in owners if name.startswith(f"{one}.")), ""), name)
            for name in self.paths
        )
        return tuple(name.removeprefix(f"{owner}.") for owner, name in found if owner == backend)


NONE = Metadata(Document(FILE), {})


def find(file: Document, warnings: list[str]) -> Metadata:
    """Return where each provider of *file* stands."""
    paths: dict[str, KeyPath] = {}
    for name, table in file.values.items():
        if isinstance(table, Mapping):
            paths |= {".".join(path): path for path in _tables((name,), table)}
        else:
            warnings.append(f"{file.where((name,))}: {name} is no provider and has no effect")
    return Metadata(file, paths)


def read(
    metadata: Metadata, path: KeyPath, environ: Mapping[str, str], warnings: list[str]
) -> Provider:
    """Return the provider at *path*, or raise `ConfigError` naming file, line and key."""
    file = metadata.file
    table = shapes.table(file, path)
    own = {key: one for key, one in table.items() if not isinstance(one, Mapping)}
    plain = {key: one for key, one in own.items() if not key.isupper()}
    known = shapes.keys_of(shapes.ProviderKeys)
    warnings += shapes.unknown(file, path, plain, known)
    for key in sorted(_PROXY & plain.keys()):
        warnings.append(
            f"{file.where((*path, key))}: {'.'.join((*path, key))} has no effect: the gateway"
            " stands before the API, and no proxy is started"
        )
    reader = _Reader(file, path, environ, warnings)
    filled = {key: reader.filled(key, one) for key, one in plain.items() if key in known}
    fitted = shapes.fit(file, path, filled, shapes.ProviderKeys)
    values = {key: getattr(fitted, key) for key in filled if filled[key] not in (None, "")}
    places = {key: file.where((*path, key)) for key in values}
    reader.export({key: one for key, one in own.items() if key.isupper()}, values, places)
    _openrouter(values, places)
    return Provider(
        {key: one for key, one in values.items() if key not in _TOLD},
        {key: one for key, one in places.items() if key not in _TOLD},
    )


def _openrouter(values: dict[str, Any], places: dict[str, str]) -> None:
    """Read the keys for OpenRouter as those of an OpenAI-compatible API."""
    key = values.pop("openrouter_api_key", None)
    address = values.pop("openrouter_base_url", None)
    if key is not None and not KEYS & values.keys():
        values["openai_api_key"] = key
        places["openai_api_key"] = places["openrouter_api_key"]
        address = address or OPENROUTER
    if address is not None and not ADDRESSES & values.keys():
        values["openai_base_url"] = address
        places["openai_base_url"] = places.get("openrouter_base_url", "OpenRouter's own")
    for name in ("openrouter_api_key", "openrouter_base_url"):
        places.pop(name, None)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the values of one provider; what is odd goes to `warnings`."""

    file: Document
    path: KeyPath
    environ: Mapping[str, str]
    warnings: list[str]

    def filled(self, key: str, value: Any) -> Any:
        """Return a value with its variables filled in, None when one is not set."""
        if isinstance(value, list):
            inner = [self.filled(key, one) for one in value]
            return None if None in inner else inner
        if not isinstance(value, str):
            return value
        named = _VARIABLE.findall(value)
        missing = [name for name in named if not self.environ.get(name)]
        if missing:
            self._tell(key, f"needs the variable {missing[0]}, which is not set")
            return None
        if key in _SHOWN and any(_SECRET.search(name.upper()) for name in named):
            self._tell(key, "holds a secret, which no agent is given, and has no effect")
            return None
        return _VARIABLE.sub(lambda found: self.environ[found[1]], value)

    def export(
        self, table: Mapping[str, Any], values: dict[str, Any], places: dict[str, str]
    ) -> None:
        """Add what the keys in capitals say to *values*, and where to *places*."""
        env: dict[str, str] = {}
        for key, raw in table.items():
            value = self._text(key, raw)
            if not value:
                continue
            means = self._meaning(key)
            if means == "env" and self._secret(key, raw):
                self._tell(key, "is a secret, so no agent is given it, and has no effect")
            elif means == "env":
                env[key] = value
            elif means in values:
                self._tell(key, f"has no effect: {places[means]} says it already")
            else:
                values[means] = value
                places[means] = self.file.where((*self.path, key))
        if env:
            values["env"] = env
            places["env"] = self.file.where(self.path)

    def _meaning(self, key: str) -> str:
        if _KEY.search(key):
            return "openrouter_api_key" if key.startswith("OPENROUTER_") else "api_key"
        if _ADDRESS.search(key):
            return "openrouter_base_url" if key.startswith("OPENROUTER_") else "base_url"
        return "model" if _MODEL.fullmatch(key) else "env"

    def _secret(self, key: str, raw: Any) -> bool:
        named = _VARIABLE.findall(raw) if isinstance(raw, str) else []
        return any(_SECRET.search(name.upper()) for name in (key, *named))

    def _text(self, key: str, raw: Any) -> str:
        if isinstance(raw, bool):
            return "true" if raw else "false"
        if not isinstance(raw, str | int | float):
            where = self.file.where((*self.path, key))
            name = ".".join((*self.path, key))
            raise ConfigError(f"{where}: {name} must be text, not {shapes.shown(raw)}")
        return str(self.filled(key, raw) or "") if isinstance(raw, str) else str(raw)

    def _tell(self, key: str, what: str) -> None:
        path = (*self.path, key)
        self.warnings.append(f"{self.file.where(path)}: {'.'.join(path)} {what}")


def _tables(path: KeyPath, table: Mapping[str, Any]) -> Iterator[KeyPath]:
    """Yield where providers stand: tables that hold a key of their own, or nothing."""
    inner = {key: one for key, one in table.items() if isinstance(one, Mapping)}
    if len(inner) < len(table) or not table:
        yield path
    for key, one in inner.items():
        yield from _tables((*path, key), one)
