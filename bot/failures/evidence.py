# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""Match the table against a region: which rows speak, on which lines, how strongly.

Lines that tell of passing tests, of warnings and of retries are no evidence, whatever their words.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.domain.values import FailurePattern
from bot.failures.patterns import Pattern, Scanner
from bot.failures.region import End, Region
from bot.failures.rules import RULES
from bot.failures.taxonomy import Rule

MAX_HITS = 400
CUSTOM = 0.09
CHUNK = 40  # lines scanned at once: few rows speak in so few
ANNOTATED = (b"##[error]", b"::error", b"Error: ")
ANNOTATION = Pattern(r"^(?:##\[error\]|::error.{0,300}?::|Error: )")

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


class Table:
    """The rows of evidence, ready to be matched."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._scanner = Scanner([rule.pattern for rule in self.rules])

    def hits(self, lines: Sequence[bytes]) -> dict[int, list[int]]:
        """Return which rows speak on which lines: the first of them, and the last."""
        once = list(dict.fromkeys(lines))  # logs repeat themselves
        marked = [line for line in once if line.startswith(ANNOTATED)]
        rows: dict[bytes, set[int]] = defaultdict(set)
        self._speak(once, once, rows)
        self._speak([ANNOTATION.without(line) for line in marked], marked, rows)
        found: dict[int, list[int]] = defaultdict(list)
        for at, line in enumerate(lines):
            for row in rows.get(line, ()):
                _note(found[row], at)
        return found

    def _speak(
        self, said: Sequence[bytes], lines: Sequence[bytes], rows: dict[bytes, set[int]]
    ) -> None:
        """Note which rows speak for each of *lines*, of which *said* tells what counts."""
        for begin in range(0, len(said), CHUNK):
            text = b"\n".join(said[begin : begin + CHUNK])
            for row, pattern in self._scanner.found(text):
                for at in pattern.lines(text):
                    line = lines[begin + at]
                    if not PASSING.matches(line):
                        rows[line].add(row)


def _note(at: list[int], index: int) -> None:
    if len(at) < MAX_HITS:
        at.append(index)
    else:
        at[-1] = index


TABLE = Table(RULES)


def custom_table(patterns: Sequence[FailurePattern]) -> Table | None:
    """Return the project's own rows, or None when it has none.

    What a project says of itself goes before what the table guesses, unless it is said with doubt.
    """
    if not patterns:
        return None
    return Table(
        [
            Rule(one.name, one.type, one.tool, min(0.99, one.confidence + CUSTOM), one.pattern, ())
            for one in patterns
        ]
    )


def matches(region: Region, table: Table = TABLE) -> tuple[Match, ...]:
    """Return the rows that speak in *region*, the strongest first, the earliest before others."""
    if region.end is End.PASSED:
        return ()
    found = [
        Match(table.rules[row], tuple(at), _score(table.rules[row], at, region))
        for row, at in table.hits(region.lines).items()
    ]
    return ranked(found)


def ranked(found: Iterable[Match]) -> tuple[Match, ...]:
    """Return *found*, the strongest first, the earliest before others."""
    return tuple(sorted(found, key=lambda match: (-match.score, match.at[0], match.rule.name)))


def _score(rule: Rule, at: Sequence[int], region: Region) -> float:
    """Weigh a row: its weight, a little more near the end of a region without marks."""
    score = rule.weight
    if region.end is not End.FAILED and len(region.lines) > 200:  # noqa: PLR2004 (a short log is all region)
        score -= 0.04 * (1 - (at[-1] + 1) / len(region.lines))
    if rule.tool and rule.tool.split()[0] in region.command:
        score += 0.01
    return score
