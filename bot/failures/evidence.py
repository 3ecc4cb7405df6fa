# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""Match the table against a region: which rows speak, on which lines, how strongly.

Lines that tell of passing tests, of warnings and of retries are no evidence, whatever their words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.failures.patterns import Pattern, PatternSet
from bot.failures.region import End, Region
from bot.failures.rules import RULES
from bot.failures.taxonomy import Rule

MAX_HITS = 400
CHUNK = 64

_SET = PatternSet([rule.pattern for rule in RULES])
PASSING = Pattern(
    r"^ *(✓|✔|√|ok \d+|PASS\b|\(pass\)|--- PASS|=== (RUN|PAUSE|CONT|NAME)|\[ +(OK|RUN) +\]|##\[(warning|notice|debug|group|endgroup)\]"
    r"|npm (WARN|warn|notice)|warning npm|WARN(ING)? |\[WARN(ING)?\] .*(deprecat|Deprecat)|Downloading |Collecting |Requirement already satisfied|Retrying )"
    r"|^test .* \.\.\. (ok|ignored)$|\bPASSED( +\[ *\d+%\])?$|\.\.\. ok$|\(ignored\)$|^ *[+-]?\d* *it\("
)


@dataclass(frozen=True, slots=True)
class Match:
    """A row and the lines of the region (indices) that it matched, with its score."""

    rule: Rule
    at: tuple[int, ...]
    score: float


def matches(region: Region) -> tuple[Match, ...]:
    """Return the rows that speak in *region*, the strongest first, the earliest before others."""
    hits: dict[int, list[int]] = {}
    for index, row in _hits(region.lines):
        at = hits.setdefault(row, [])
        if len(at) < MAX_HITS:
            at.append(index)
        else:
            at[-1] = index
    found = [
        Match(RULES[row], tuple(at), _score(RULES[row], at, region)) for row, at in hits.items()
    ]
    return tuple(sorted(found, key=lambda match: (-match.score, match.at[0], match.rule.name)))


def _hits(lines: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        if not _SET.found(b"\n".join(chunk)):
            continue
        for offset, line in enumerate(chunk):
            rows = _SET.found(line) if line else ()
            if rows and not PASSING.matches(line):
                for row in rows:
                    yield start + offset, row


def _score(rule: Rule, at: Sequence[int], region: Region) -> float:
    """Weigh a row: its weight, a little more near the end of a region without marks."""
    score = rule.weight
    if region.end is not End.FAILED and len(region.lines) > 200:  # noqa: PLR2004 (a short log is all region)
        score -= 0.04 * (1 - (at[-1] + 1) / len(region.lines))
    if rule.tool and rule.tool.split()[0] in region.command:
        score += 0.01
    return score
