"""Recorded runs of agents' command lines, as the sandbox reports them.

Our own samples hold such a report: a line of JSON about the end, then the output, shortened. The
larger set outside the project tells how a run ended in its own way: one that was ended for time
counts as timed out, one that was ended otherwise as stopped.
"""

import json
import os
from pathlib import Path

from bot.domain.ports import Finished

SAMPLES = Path(__file__).parents[1] / "adapters" / "samples" / "agents"


def sample(name: str) -> Finished:
    """Return one of our own samples."""
    about, _, output = (SAMPLES / f"{name}.txt").read_text().partition("\n")
    return Finished(output=output, seconds=1.0, **json.loads(about))


def shared() -> Path | None:
    """Return the folder of the larger set, or None."""
    root = os.environ.get("REGREEN_SHARED")  # noqa: TID251  # where it lies, if anywhere
    return Path(root) / "agents" / "captures" if root else None


def capture(path: Path) -> Finished:
    """Return one run of the larger set."""
    head, _, rest = path.read_text(errors="replace").partition("\n===== stdout =====\n")
    out, _, rest = rest.partition("\n===== stderr =====\n")
    err, _, _ = rest.partition("\n===== requests seen by")
    about = json.loads(next(line for line in head.splitlines() if line.startswith('{"cli"')))
    ended = [
        line for line in head.splitlines() if line.startswith("note: ") and " sent SIG" in line
    ]
    late = any("(timeout)" in line for line in ended)
    code = about["rc"]
    return Finished(
        exit_code=128 - code if code < 0 else code,
        output=f"{out}\n{err}\n",
        seconds=about["wall_s"],
        timed_out=late,
        stopped=bool(ended) and not late,
    )
