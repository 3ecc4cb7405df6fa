"""Which folders of the host a sandbox must see so that the tools on a PATH work in it.

`/usr` is always there. Any other folder of the PATH is shown read-only, together with the `lib`
folders beside a `bin`, and so is whatever its links lead to: a virtual environment's interpreter
leads to the Python that it was made from. A folder of shims (pyenv, rustup) is replaced by the
versions that the shims would choose: they look for them in a home folder, and the sandbox's is
empty. Home folders are never shown whole.
"""

import os
import pwd
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BESIDE_BIN = ("lib", "lib64", "libexec", "include", "pyvenv.cfg")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives")
_TOO_WIDE = ("/", "/home", "/root", "/etc", "/proc", "/dev", "/tmp", "/var", "/run")  # noqa: S108  # never shown, not used


@dataclass(frozen=True, slots=True)
class ToolPath:
    """The PATH inside a sandbox, and what must be shown of the host for it to work."""

    path: str
    shown: tuple[Path, ...]


def host_path() -> str:
    """Return the PATH of this process, then the folder of what we bring ourselves (ruff)."""
    return os.pathsep.join([*os.get_exec_path(), str(Path(sys.executable).parent)])


def tool_path(path: str) -> ToolPath:
    """Work out the folders for the tools on *path*, a colon-separated PATH of the host."""
    folders = [Path(os.path.abspath(word)) for word in path.split(os.pathsep) if word]  # noqa: PTH100  # links must stay
    kept = list(dict.fromkeys(real for folder in folders for real in _without_shims(folder)))
    shown: dict[Path, None] = {}
    for folder in kept:
        _show(folder, shown)
    inside = [str(folder) for folder in kept if _system(folder) or folder in shown]
    return ToolPath(os.pathsep.join(dict.fromkeys([*inside, "/usr/bin", "/bin"])), tuple(shown))


def _without_shims(folder: Path) -> Iterator[Path]:
    if (folder / "rustup").exists():
        yield from _rust_toolchain(folder.parent.with_name(".rustup"))
    if folder.name != "shims":
        yield folder
        return
    chosen = folder.parent / "version"
    names = chosen.read_text().split() if chosen.is_file() else []
    yield from (folder.parent / "versions" / name / "bin" for name in names)


def _rust_toolchain(home: Path) -> Iterator[Path]:
    """Yield the folder of rustup's default toolchain, to stand before its proxies."""
    settings = home / "settings.toml"
    if settings.is_file():
        with suppress(tomllib.TOMLDecodeError):
            default = tomllib.loads(settings.read_text()).get("default_toolchain", "")
            yield home / "toolchains" / str(default) / "bin"


def _show(folder: Path, shown: dict[Path, None]) -> None:
    """Add *folder*, what belongs to it, and what its links lead to."""
    if folder in shown or _system(folder) or not folder.is_dir() or _wide(folder):
        return
    shown[folder] = None
    if folder.name == "bin" and not _wide(folder.parent):
        beside = (folder.parent / name for name in _BESIDE_BIN)
        shown.update((path, None) for path in beside if path.exists())
    for entry in _links(folder):
        _follow(entry, shown)


def _links(folder: Path) -> Sequence[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_symlink()]
    except OSError:
        return []


def _follow(link: Path, shown: dict[Path, None]) -> None:
    """Show each hop of *link*: the middle ones must exist in the sandbox as well."""
    seen = set()
    while link.is_symlink() and link not in seen:
        seen.add(link)
        link = Path(os.path.normpath(link.parent / link.readlink()))
        if link.parent.name == "bin":
            _show(link.parent, shown)
        elif link.is_file() and not _covered(link, shown) and not _system(link):
            shown[link] = None


def _covered(path: Path, shown: dict[Path, None]) -> bool:
    return path in shown or any(parent in shown for parent in path.parents)


def _system(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _SYSTEM)


def _wide(path: Path) -> bool:
    homes = (Path(pwd.getpwuid(os.getuid()).pw_dir), Path.home())  # the user's, and what HOME says
    return str(path) in _TOO_WIDE or any(home.is_relative_to(path) for home in homes)
