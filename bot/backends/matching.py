"""Finds the lines of a file that a patch means, as exactly as it can.

Three ways, in order: the lines as they are; the lines without what stands at their ends (models and
editors lose trailing blanks and carriage returns); the lines shifted by one common indentation.
The first way that fits anywhere decides. Where it fits in several places, the line number of the
patch chooses the nearest one; without a number the patch is refused: a guess could be wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


class Misfit(Exception):
    """A patch that cannot be used; the message says why, for a person and for the next try."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where lines were found, and how added lines must be written to belong there.

    `exact` says that no allowance was made. `gained` is the indentation that the file has and the
    patch lacks, `lost` the other way round.
    """

    start: int
    exact: bool = True
    gained: str = ""
    lost: str = ""

    def adapted(self, line: str, ending: str) -> str:
        """Return an added line as the file has its own; *ending* is its lines' own end."""
        if self.exact:
            return line
        line = line.rstrip("\r")
        if line.strip():
            line = self.gained + line.removeprefix(self.lost)
        return line + ending


def locate(lines: Sequence[str], old: Sequence[str], near: int | None) -> Place | None:
    """Return the place of *old* in *lines*, None when there is none.

    *near* is the index that the patch claims, None when it claims none. Raises Misfit when several
    places fit and nothing chooses between them.
    """
    for way in (_exactly, _loosely, _shifted):
        places = list(way(lines, old))
        if not places:
            continue
        if len(places) == 1:
            return places[0]
        if near is None:
            raise Misfit(f"fits in {len(places)} places; it needs more context")
        return min(places, key=lambda place: abs(place.start - near))
    return None


def _starts(
    lines: Sequence[str], old: Sequence[str], same: Callable[[str, str], bool]
) -> Iterator[int]:
    for start in range(len(lines) - len(old) + 1):
        if all(same(lines[start + at], line) for at, line in enumerate(old)):
            yield start


def _exactly(lines: Sequence[str], old: Sequence[str]) -> Iterator[Place]:
    for start in _starts(lines, old, str.__eq__):
        yield Place(start)


def _loosely(lines: Sequence[str], old: Sequence[str]) -> Iterator[Place]:
    mine, theirs = [line.rstrip() for line in lines], [line.rstrip() for line in old]
    for start in _starts(mine, theirs, str.__eq__):
        yield Place(start, exact=False)


def _shifted(lines: Sequence[str], old: Sequence[str]) -> Iterator[Place]:
    """Find *old* where each line differs by the same indentation; blank lines have none."""
    first = next((at for at, line in enumerate(old) if line.strip()), None)
    if first is None:
        return
    mine, theirs = [line.rstrip() for line in lines], [line.rstrip() for line in old]
    bare = theirs[first].lstrip()
    wanted = theirs[first].removesuffix(bare)
    for start in range(len(mine) - len(theirs) + 1):
        line = mine[start + first]
        if line.lstrip() != bare:
            continue
        indent = line.removesuffix(bare)
        gained, lost = indent.removesuffix(wanted), wanted.removesuffix(indent)
        if (gained and lost) or (indent != gained + wanted.removeprefix(lost)):
            continue
        shifted = [gained + one.removeprefix(lost) if one else "" for one in theirs]
        if list(mine[start : start + len(theirs)]) == shifted:
            yield Place(start, exact=False, gained=gained, lost=lost)
