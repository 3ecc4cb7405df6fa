"""A package index, and trees whose set-up installs from it."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from bot.config.schema import SandboxConfig
from bot.domain.values import Command, CommandResult, Ground
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.sandbox import Bubblewrap
from bot.workspace.setup import Setup
from tests.support.bubblewrap import TOOLS
from tests.support.fetching import Web

OURS = Ground("o/r", trusted=True)
THEIRS = Ground("o/r", trusted=False)


def wheel(name: str, version: str, code: str, **modules: str) -> bytes:
    """Return a wheel of one module, or more."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        **{f"{module}.py": text for module, text in modules.items()},
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text.encode())}\n")
    files[f"{about}/RECORD"] = "".join(lines) + f"{about}/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made.getvalue()


def index(name: str = "demo", version: str = "1.0", code: str = "ANSWER = 42\n") -> Web:
    """Return a server with one package in a simple index."""
    file = f"{name}-{version}-py3-none-any.whl"
    return Web(
        {
            f"/simple/{name}/": f'<a href="/files/{file}">{file}</a>'.encode(),
            f"/files/{file}": wheel(name, version, code),
        }
    )


def tree(path: Path, **files: str) -> Path:
    """Make a folder of files; `__` in a name stands for a dot."""
    path.mkdir(parents=True)
    for name, text in files.items():
        at = path / name.replace("__", ".")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    return path


def gatekeeper(root: Path, **config: object) -> LocalGatekeeper:
    """Return one in the real sandbox, whose data folder is *root*."""
    settings = SandboxConfig(**config)  # type: ignore[arg-type]
    sandbox = Bubblewrap(settings, TOOLS)
    return LocalGatekeeper(sandbox, root, Setup(sandbox, root, config=settings, path=TOOLS))


def verified(
    keeper: LocalGatekeeper, at: Path, *commands: tuple[str, str], ground: Ground = OURS
) -> Sequence[CommandResult]:
    """Verify with commands of these names and scripts."""
    asked = [Command(name, run, timeout_s=60) for name, run in commands]
    return keeper.verify(at, asked, lambda: False, ground)


def stored(root: Path) -> list[Path]:
    """Return the stored set-ups."""
    return sorted(path.parent for path in (root / "setups").glob("*/*/size"))
