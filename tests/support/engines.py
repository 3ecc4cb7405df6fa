"""Containers for tests: an image of this host's own programs, made without any registry."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bot.config.schema import SandboxConfig
from bot.workspace.container import Container

IMAGE = "localhost/regreen-test:1"
PROGRAMS = "sh cat df env grep head id ls mkdir seq sleep tail touch tr true unshare wc"


def engine() -> Sequence[str] | str:
    """Return how podman is called here so that it works, or why it does not."""
    podman = shutil.which("podman")
    if podman is None:
        return "podman is not installed"
    told = ""
    for runtime in ((), ("--runtime", "runc"), ("--runtime", "crun")):
        words = [podman, *runtime, "run", "--rm", "--network", "none", "--ulimit", "nofile=64:64"]
        words += ["--ulimit", "nproc=64:64", "--pids-limit", "64", IMAGE, "true"]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            return [podman, *runtime]
        told = ran.stderr.strip()
    return f"podman does not run containers here: {told}"


@contextmanager
def image(folder: Path) -> Iterator[None]:
    """Make the image from programs of this host and what they are linked with."""
    files = {f"bin/{name}": shutil.which(name) or "/bin/false" for name in PROGRAMS.split()}
    for program in [*files.values()]:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        words = (word for word in told.stdout.split() if word.startswith("/"))
        files |= {word.removeprefix("/"): word for word in words}
    with tarfile.open(folder / "image.tar", "w", dereference=True) as archive:
        for at, path in files.items():
            archive.add(os.path.realpath(path), at)
    podman = shutil.which("podman") or "podman"
    subprocess.run(
        [podman, "import", "--quiet", str(folder / "image.tar"), IMAGE],
        capture_output=True,
        check=True,
    )
    yield
    subprocess.run([podman, "rmi", "--force", IMAGE], capture_output=True, check=False)


def container(program: Sequence[str], **changes: object) -> Container:
    config = SandboxConfig(driver="podman", image=IMAGE, memory_mb=256, processes=40, **changes)  # type: ignore[arg-type]
    made = Container(config, os.defpath)
    made.program = program
    return made
