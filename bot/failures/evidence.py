# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""Match the table against a region: which rows speak, on which lines, how strongly.

Lines that tell of passing tests, of warnings and of retries are no evidence, whatever their words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.domain.values import FailureType
from bot.failures.patterns import Pattern, PatternSet
from bot.failures.region import End, Region
from bot.failures.rules import RULES
from bot.failures.taxonomy import Rule

MAX_HITS = 400
ANNOTATION = re.compile(
    rb"(?m)^(?:##\[error\]|::error[^:\n]{0,300}(?::[^:\n]{1,300}){0,4}?::|Error: )(?=\S)"
)
CHUNK = 64

# One automaton for each kind: one for all would have too many states to build.
_SETS = [
    (PatternSet([RULES[row].pattern for row in rows]), rows)
    for kind in FailureType
    if (rows := [row for row, rule in enumerate(RULES) if rule.type is kind])
]
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
    if region.end is End.PASSED:
        return ()
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
    """Yield line and row of every hit: whole chunks are asked first, as most are silent."""
    for start in range(0, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        joined = b"\n".join(chunk)
        bare = ANNOTATION.sub(b"", joined)
        for patterns, rows in _SETS:
            if not patterns.found(joined) and (bare == joined or not patterns.found(bare)):
                continue
            for offset, line in enumerate(chunk):
                found = _found(patterns, line)
                if found and not PASSING.matches(line):
                    for row in found:
                        yield start + offset, rows[row]


def _found(patterns: PatternSet, line: bytes) -> Sequence[int]:
    """Return the rows for a line, also for what stands behind an annotation's mark."""
    bare = ANNOTATION.sub(b"", line)
    found = patterns.found(line)
    return found if bare == line else sorted({*found, *patterns.found(bare)})


def _score(rule: Rule, at: Sequence[int], region: Region) -> float:
    """Weigh a row: its weight, a little more near the end of a region without marks."""
    score = rule.weight
    if region.end is not End.FAILED and len(region.lines) > 200:  # noqa: PLR2004 (a short log is all region)
        score -= 0.04 * (1 - (at[-1] + 1) / len(region.lines))
    if rule.tool and rule.tool.split()[0] in region.command:
        score += 0.01
    return score
