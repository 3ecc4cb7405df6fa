# ruff: noqa: E501, RUF001 (patterns are quoted whole, with the signs that tools print)
"""Places in the repository that tools point at, read from their usual formats."""

from collections.abc import Iterable

from bot.domain.values import Location
from bot.failures.patterns import Pattern, PatternSet

LIMIT = 50
SOURCE = r"[\w@+~.()\[\] /\\-]*?[\w@+~)\]-]\.[A-Za-z]{1,10}"

# Each row: pattern, then which groups hold path, line and message (0: none).
ROWS: tuple[tuple[str, int, int, int], ...] = (
    (
        rf"^(?:\[error\] |\[ERROR\] |ERROR: |e: (?:file://)?)?((?:[A-Za-z]:)?{SOURCE}):(\d+)(?::\d+)?(?::| -)? (.+)$",
        1,
        2,
        3,
    ),
    (rf"^((?:[A-Za-z]:)?{SOURCE})\((\d+)(?:,\d+)?\): (.+)$", 1, 2, 3),  # tsc, csc
    (rf"^(?:\[ERROR\] )?({SOURCE}):\[(\d+),\d+\] (.+)$", 1, 2, 3),  # Maven
    (rf"^ *(?:-->|╭▸|┌─) ({SOURCE}):(\d+):\d+$", 1, 2, 0),  # rustc, ruff
    (rf"^({SOURCE}):(\d+): (\w*(?:Error|Exception|Failed)\b.*)$", 1, 2, 3),  # pytest
    (rf'^ *(?:E +)?File "({SOURCE})", line (\d+)(?:, in .*)?$', 1, 2, 0),  # Python
    (rf"^(?:FAILED|ERROR) ({SOURCE})(?:::\S+)?(?: - (.+))?$", 1, 0, 2),  # pytest's summary
    (rf"^ +({SOURCE}):(\d+): (.+)$", 1, 2, 3),  # go test
    (rf"^Diff in ({SOURCE})(?::| at line )(\d+):?$", 1, 2, 0),  # rustfmt
    (rf"^(?:would reformat|Would reformat:|\[warn\]) ({SOURCE})$", 1, 0, 0),  # black, prettier
    (rf"^In ({SOURCE}|\S+) line (\d+):$", 1, 2, 0),  # shellcheck
    (rf"^ +at (?:async )?(?:.+ \()?(?:file://)?((?:[A-Za-z]:)?{SOURCE}):(\d+):\d+\)?$", 1, 2, 0),
    (rf"^thread '.*' panicked at ({SOURCE}):(\d+):\d+:?$", 1, 2, 0),
)
HEADER = Pattern(rf"^(/?(?:[A-Za-z]:)?{SOURCE})$")  # eslint's and stylelint's file line
UNDER_HEADER = Pattern(r"^ +(\d+):\d+ +(?:error|warning|✖|⚠|×) +(.+)$")
THIRD_PARTY = Pattern(
    r"site-packages|node_modules|dist-packages|/usr/lib/|hostedtoolcache|node:internal|\.cargo/registry|_actions/|<frozen|https?:"
)
WORKSPACE = Pattern(
    r"^(?:/home/runner/work|/Users/runner/work|/__w|[A-Z]:[\\/]a|.*[\\/]_work)[\\/][^\\/]+[\\/][^\\/]+[\\/](.+)$"
)

_PATTERNS = [Pattern(row[0]) for row in ROWS]
_SET = PatternSet([row[0] for row in ROWS])


def path_of(text: str) -> str:
    """Return a path as the repository knows it: forward slashes, no workspace, no leading dot."""
    found = WORKSPACE.groups(text.encode())
    return (found[0] if found else text).strip().replace("\\", "/").removeprefix("./")


def _at(line: bytes) -> Location | None:
    for index in _SET.found(line):
        _, path, number, message = ROWS[index]
        groups = _PATTERNS[index].groups(line)
        if groups is None:
            continue
        where = groups[path - 1]
        return Location(
            path=path_of(where),
            line=int(groups[number - 1][:9]) if number else 0,
            message=groups[message - 1].strip()[:300] if message else "",
        )
    return None


def locations(lines: Iterable[bytes]) -> tuple[Location, ...]:
    """Return the places that *lines* name, without repetitions and other people's code."""
    found: dict[tuple[str, int], Location] = {}
    header = ""
    for line in lines:
        if len(found) >= LIMIT:
            break
        if THIRD_PARTY.matches(line):
            continue
        under = UNDER_HEADER.groups(line) if header and line.startswith(b" ") else None
        place = Location(header, int(under[0][:9]), under[1][:300]) if under else _at(line)
        if place is not None:
            known = found.get((place.path, place.line))
            if known is None or not known.message:
                found[(place.path, place.line)] = place
        elif not line.startswith(b" "):
            named = HEADER.groups(line)
            header = path_of(named[0]) if named else ""
    return tuple(found.values())
