"""The programs of the agents: whether they are there, in which version, and how to install them."""

import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bot.backends import endpoints
from bot.config.schema import BackendConfig
from bot.domain.ports import Sandbox
from bot.domain.values import Value

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?[\w.+-]*")
_PATIENCE_S = 30.0  # node takes its time on a cold disk
INSTALL: Mapping[str, str] = {
    "aider": "pipx install aider-chat",
    "claude": "npm install --global @anthropic-ai/claude-code",
    "codex": "npm install --global @openai/codex",
    "gemini": "npm install --global @google/gemini-cli",
    "opencode": "npm install --global opencode-ai",
    "qwen": "npm install --global @qwen-code/qwen-code",
}


class Program(Value, frozen=True):
    """A program that a backend starts; `path` is empty when it is not on the PATH.

    `version` is empty where it could not be asked, and `note` then says why; where the program is
    missing, `note` says how to install it.
    """

    name: str
    path: str = ""
    version: str = ""
    note: str = ""


def program(config: BackendConfig, kind: str) -> str:
    """Return the name of the program that a backend of that kind starts, empty for none."""
    if kind == "command":
        try:
            words = shlex.split(config.command or "")
        except ValueError:
            return ""
        return words[0] if words else ""
    return kind if kind in endpoints.AGENTS else ""


def look(name: str, path: str, sandbox: Sandbox | str) -> Program:
    """Look for a program on *path*, and ask its version in the sandbox, as the server starts it.

    A text in place of the sandbox says why there is none.
    """
    found = shutil.which(name, path=path)
    if found is None:
        return Program(name, note=INSTALL.get(name, "put it on the PATH of Regreen"))
    if name not in INSTALL:  # a program of one's own need not know --version
        return Program(name, found)
    if isinstance(sandbox, str):
        return Program(name, found, note=sandbox)
    with tempfile.TemporaryDirectory(prefix="regreen-") as folder:
        ended = sandbox.run((name, "--version"), Path(folder), timeout_s=_PATIENCE_S)
    told = _VERSION.search(ended.output)
    if ended.exit_code == 0 and told is not None:
        return Program(name, found, told[0])
    said = " ".join(ended.output.split())[-200:] or f"exit code {ended.exit_code}"
    return Program(name, found, note=f"`{name} --version` fails in the sandbox: {said}")
