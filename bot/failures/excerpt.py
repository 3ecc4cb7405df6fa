"""The lines of a log that a model should read, within a budget, saying what was cut.

First come the lines that decided, with the lines around them; then the end of the failing region,
where most tools sum up; then what any other row of the table knows; then the beginning.
"""

from collections.abc import Iterable, Sequence

from bot.failures.evidence import Match
from bot.failures.region import Region

BUDGET = 24_000  # characters, about 6,000 tokens
LINE = 500
BEFORE = 4
AFTER = 8
END = 60
CUT = "[… {} lines cut …]"


def of_region(region: Region, found: Sequence[Match]) -> str:
    """Return the excerpt of one region, at most `BUDGET` characters, given the rows that speak."""
    lines = _Lines(region.lines)
    head = _head(region)
    budget = BUDGET - len(head) - len(CUT) * 2
    chosen: set[int] = set()
    for index in _by_importance(len(lines), found):
        if index in chosen:
            continue
        # Each chosen line may open one more gap, whose mark costs as much as a short line.
        cost = len(lines[index]) + 1
        if not {index - 1, index + 1} & chosen:
            cost += len(CUT) + 8
        if cost > budget:
            continue
        budget -= cost
        chosen.add(index)
        if budget < LINE // 10:
            break
    return head + "\n".join(_with_cuts(lines, sorted(chosen)))


class _Lines:
    """Lines as text, each decoded when it is asked for."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> str:
        return self._lines[index].decode("utf-8", "replace")[:LINE]


def _head(region: Region) -> str:
    command = region.command.split("\nshell: ")[0].strip()[:1000]
    named = f"step: {region.step[:200]}\n" if region.step else ""
    return named + (f"$ {command}\n" if command else "")


def _by_importance(size: int, found: Sequence[Match]) -> Iterable[int]:
    strong = [match for match in found if match.score >= 0.5][:12]  # noqa: PLR2004 (half the scale)
    for match in strong:
        yield from match.at[:60]
    for match in strong[:4]:
        for at in match.at[:25]:
            yield from range(max(0, at - BEFORE), min(size, at + AFTER + 1))
    yield from range(size - 1, max(-1, size - 1 - END), -1)
    for match in found:
        yield from match.at[:20]
    for match in strong[:6]:
        for at in match.at[:10]:
            yield from range(max(0, at - 30), min(size, at + 30))
    yield from range(size - 1, max(-1, size - 400), -1)
    yield from range(min(size, 40))


def _with_cuts(lines: _Lines, chosen: Sequence[int]) -> Iterable[str]:
    last = -1
    for index in chosen:
        if index > last + 1:
            yield CUT.format(index - last - 1)
        yield lines[index]
        last = index
    if last + 1 < len(lines):
        yield CUT.format(len(lines) - last - 1)
