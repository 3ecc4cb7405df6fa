"""A repository that people push to, with a clone of theirs; and what a tree looks like."""

import fcntl
import os
import stat
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bot.domain.values import Remote, Sha

GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
NO_DUMP = 0x40


class Origin:
    """A bare repository `root/o/<name>.git`, and a clone of it in which commits are made."""

    def __init__(self, root: Path, name: str = "r") -> None:
        self.root = root
        self.bare = root / "o" / f"{name}.git"
        self.clone = root / f"clone-{name}"
        self.git("init", "-q", "--bare", "-b", "main", str(self.bare), where=root)
        self.git("init", "-q", "-b", "main", str(self.clone), where=root)

    @property
    def remote(self) -> Remote:
        return Remote(str(self.bare), "")

    def git(self, *words: str, where: Path | None = None, stdin: bytes = b"") -> str:
        environment = {"PATH": os.defpath, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.root)}
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_NAME": "P", f"GIT_{role}_EMAIL": "p@example.org"}
        command = ["git", *words]
        place = where or self.clone
        ended = subprocess.run(
            command, cwd=place, env=environment, input=stdin, capture_output=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.decode(errors="replace").strip()

    def commit(self, files: Mapping[str, str | bytes], branch: str = "main") -> Sha:
        for name, content in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "Change")
        self.git("push", "-q", "-f", str(self.bare), f"HEAD:refs/heads/{branch}")
        return Sha(self.git("rev-parse", "HEAD"))

    def at(self, branch: str = "main") -> str:
        return self.git("rev-parse", f"refs/heads/{branch}", where=self.bare)


def seen(tree: Path) -> dict[Path, tuple[object, ...]]:
    """Return all that lasts of what a program can see of a tree, by path; not times and numbers."""
    return {path.relative_to(tree): _look(path) for path in [tree, *tree.rglob("*")]}


def _look(path: Path) -> tuple[object, ...]:
    told = path.lstat()
    content: object = None
    if stat.S_ISREG(told.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(told.st_mode):
        content = path.readlink()
    links = 0 if stat.S_ISDIR(told.st_mode) else told.st_nlink
    about = (told.st_mode, told.st_uid, told.st_gid, told.st_size, links)
    attributes = [
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in os.listxattr(path, follow_symlinks=False)
    ]
    return (*about, content, *attributes, None if path.is_symlink() else flags(path))


def flags(path: Path, new: int | None = None) -> int | None:
    """Return the flags of a file as `lsattr` shows them, set first when *new* is given."""
    if not (path.is_file() or path.is_dir()):
        return None
    file = os.open(path, os.O_RDONLY)
    try:
        if new is not None:
            fcntl.ioctl(file, SET_FLAGS, struct.pack("i", new))
        return int(struct.unpack("i", fcntl.ioctl(file, GET_FLAGS, b"\0" * 4))[0])
    except OSError:  # a file system without
        return None
    finally:
        os.close(file)
