"""Where the agents' own programs are, as `make agents` installs them."""

from pathlib import Path

import pytest

from bot.config.load import environment


def folder() -> Path:
    """Return where `make agents` puts them; REGREEN_AGENTS says another place."""
    environ = environment()
    cache = Path(environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Path(environ.get("REGREEN_AGENTS") or cache / "regreen" / "agents") / "bin"


def skip_without(*agents: str) -> None:
    """Skip the test where one of *agents* is not installed."""
    missing = [name for name in agents if not (folder() / name).exists()]
    if missing:
        names = ", ".join(missing)
        pytest.skip(f"{names} not in {folder()}; `make agents` puts it there")
