"""A twin of the sandbox: it runs the command plainly in the tree, and isolates nothing."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bot.domain.ports import NO_KIT, Finished, Kit


@dataclass
class PlainSandbox:
    """Runs what it is given; `ran` remembers each command with its input."""

    name: str = "plain"
    ran: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    kits: list[Kit] = field(default_factory=list)

    @contextmanager
    def reach(self, socket: Path) -> Iterator[str]:
        """Yield an address that nobody serves."""
        yield "http://127.0.0.1:9"

    def run(
        self,
        command: Sequence[str],
        tree: Path,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        stop: Callable[[], bool] = lambda: False,
        kit: Kit = NO_KIT,
    ) -> Finished:
        """Run *command*; like the real one, 127 means that it could not be started."""
        self.ran.append((tuple(command), stdin))
        self.kits.append(kit)
        began = time.monotonic()
        if stop():
            return Finished(-9, "", 0.0, stopped=True)
        try:
            done = subprocess.run(
                command,
                cwd=tree,
                input=stdin,
                env={**os.environ, **(env or {})},  # noqa: TID251  # the tools' PATH
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode()
            return Finished(-9, output, time.monotonic() - began, timed_out=True)
        except OSError as error:
            return Finished(127, f"{command[0]}: {error.strerror}", 0.0)
        output = done.stdout.decode(errors="replace")
        return Finished(done.returncode, output, time.monotonic() - began)
