"""Reads the settings: the environment, `.env` and `llm_config.toml`. The only place that does.

Whatever is missing or wrong is a `ConfigError` that names the variable, or file, line and key, and
says how to mend it: a server with half its settings does not start.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from bot.config import providers
from bot.config.build import build, environment_name
from bot.config.document import Document, parse
from bot.config.layers import Settings
from bot.config.schema import Configuration, Server
from bot.domain.errors import ConfigError
from bot.domain.values import Secret

FILE = "llm_config.toml"
AUTO_CODER_PATHS = ("AUTO_CODER_CONFIG_PATH", "AUTO_CODER_LLM_CONFIG_PATH")
GITHUB = "https://api.github.com"
SECRET_LENGTH = 8
TOKEN_LENGTH = 16
WEAK_SECRETS = frozenset(
    {
        "changeit",
        "changeme",
        "default",
        "development",
        "example",
        "password",
        "placeholder",
        "production",
        "regreen",
        "secret",
        "testing",
        "webhook",
    }
)
HOW_TO_MAKE_ONE = 'make one with: python3 -c "import secrets; print(secrets.token_hex(32))"'


def environment() -> Mapping[str, str]:
    """Return the environment of this process over what a `.env` file in its folder says."""
    file = {key: value for key, value in dotenv_values(".env", interpolate=False).items() if value}
    return {**file, **os.environ}


def storage(environ: Mapping[str, str] | None = None) -> tuple[str, Path]:
    """Return the database's URL and the data folder, for commands that need nothing else."""
    env = environment() if environ is None else environ
    data_dir = Path(_get(env, "REGREEN_DATA_DIR", ".regreen")).expanduser().absolute()
    return _database_url(env, data_dir), data_dir


def server(environ: Mapping[str, str] | None = None) -> Server:
    """Return the server's settings, or raise `ConfigError` naming the variable."""
    env = environment() if environ is None else environ
    database_url, data_dir = storage(env)
    config_path = _get(env, "REGREEN_CONFIG")
    return Server(
        app_id=_number(env, "REGREEN_APP_ID", least=1, most=2**53),
        private_key=_private_key(env),
        webhook_secrets=_webhook_secrets(env),
        database_url=database_url,
        data_dir=data_dir,
        github_url=_github_url(env),
        config_path=Path(config_path).expanduser() if config_path else None,
        host=_get(env, "REGREEN_HOST", "127.0.0.1"),
        port=_number(env, "REGREEN_PORT", least=0, most=65535, default="8080"),
        environment=environment_name(env),
        sentry_dsn=_get(env, "SENTRY_DSN"),
        api_token=_api_token(env),
    )


def configuration(
    path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Configuration:
    """Return what the configuration file and the environment say, or raise `ConfigError`."""
    return explained(path, environ)[0]


def explained(
    path: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Configuration, Settings]:
    """Return the configuration, and for each key who said what."""
    env = environment() if environ is None else environ
    source = locate(path, env)
    described = metadata(source, env)
    providing = document(described) if described else None
    found, settings = build(document(source), env, providing)
    if source is None:
        missing = f"there is no {FILE}: see llm_config.example.toml"
        return replace(found, warnings=(missing, *found.warnings)), settings
    return replace(found, source=source), settings


def document(source: Path | None) -> Document:
    """Return what a file says, nothing where there is none; or raise `ConfigError`."""
    if source is None:
        return Document(FILE)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read: {error}") from error
    return parse(text, str(source))


def locate(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file: the one named, else the first that exists."""
    variables = ("REGREEN_CONFIG", *AUTO_CODER_PATHS)
    named = next((found for one in variables if (found := _get(environ, one))), "")
    if path is not None or named:
        return (path or Path(named)).expanduser()
    folders = [Path(), Path(".auto-coder")]
    if home := environ.get("HOME"):
        folders.append(Path(home, ".auto-coder"))
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def metadata(source: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the providers: beside the configuration, else where auto-coder has it."""
    folders = [source.parent] if source else []
    if home := environ.get("HOME"):
        folders.append(Path(home, ".auto-coder"))
    files = (folder / providers.FILE for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _get(environ: Mapping[str, str], variable: str, default: str = "") -> str:
    return environ.get(variable, "").strip() or default


def _required(environ: Mapping[str, str], variable: str, mend: str) -> str:
    value = _get(environ, variable)
    if not value:
        raise ConfigError(f"{variable} is not set: {mend}")
    return value


def _number(
    environ: Mapping[str, str], variable: str, *, least: int, most: int, default: str = ""
) -> int:
    text = default and _get(environ, variable, default)
    text = text or _required(environ, variable, "it is the App's number, shown in its settings")
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(f'{variable} must be a whole number from {least} to {most}, not "{text}"')
    return int(text)


def _private_key(environ: Mapping[str, str]) -> Secret:
    """Return the App's key, from its PEM text (line ends may be escaped) or from a file."""
    variable = "REGREEN_PRIVATE_KEY"
    value = _required(environ, variable, "give the App's private key as PEM text or a path")
    text = value.replace("\\n", "\n")
    if "-----BEGIN" not in value:
        try:
            text = Path(value).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable} names a file that cannot be read: {error}") from error
    if "-----BEGIN" not in text or "PRIVATE KEY-----" not in text:
        raise ConfigError(f"{variable} holds no PEM private key: download one from the App's page")
    return Secret(text.strip() + "\n")


def _webhook_secrets(environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """Return the one or, while one is being replaced, two secrets in force."""
    variable = "REGREEN_WEBHOOK_SECRET"
    secrets = [one.strip() for one in _required(environ, variable, HOW_TO_MAKE_ONE).split(",")]
    if len(secrets) > 2:  # noqa: PLR2004 -- the old one and the new one
        raise ConfigError(f"{variable} holds {len(secrets)} secrets: at most two can be in force")
    for secret in secrets:
        plain = "".join(letter for letter in secret.lower() if letter.isalnum())
        if len(secret) < SECRET_LENGTH or plain.rstrip("0123456789") in {"", *WEAK_SECRETS}:
            raise ConfigError(f"{variable} is empty, too short or a default: {HOW_TO_MAKE_ONE}")
    return tuple(Secret(secret) for secret in secrets)


def _api_token(environ: Mapping[str, str]) -> Secret | None:
    variable = "REGREEN_API_TOKEN"
    token = _get(environ, variable)
    if token and len(token) < TOKEN_LENGTH:
        raise ConfigError(
            f"{variable} must have at least {TOKEN_LENGTH} letters: {HOW_TO_MAKE_ONE}"
        )
    return Secret(token) if token else None


def _database_url(environ: Mapping[str, str], data_dir: Path) -> str:
    variable = "REGREEN_DATABASE_URL"
    url = _get(environ, variable, f"sqlite:///{data_dir / 'regreen.db'}")
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme not in {"sqlite", "postgresql", "postgres"}:
        raise ConfigError(f"{variable} must begin with sqlite:/// or postgresql://")
    return url.replace("postgres://", "postgresql://", 1) if scheme == "postgres" else url


def _github_url(environ: Mapping[str, str]) -> str:
    variable = "REGREEN_GITHUB_URL"
    url = _get(environ, variable, GITHUB).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigError(f'{variable} must be the API\'s address, such as {GITHUB}, not "{url}"')
    return url
