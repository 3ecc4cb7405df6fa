"""From a log to signals: clean it, find where it failed, ask the table, rank the causes.

The first failing step is the root; within it the strongest row wins, and weights put causes above
symptoms. A log that ends well is UNKNOWN, whatever words it contains.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from bot.domain.values import Evidence, FailureType, Signal
from bot.failures.commands import purpose
from bot.failures.evidence import TABLE, Match, Table, matches, ranked
from bot.failures.excerpt import of_region
from bot.failures.fingerprint import of_lines
from bot.failures.locations import locations
from bot.failures.patterns import Pattern
from bot.failures.reader import Chunks
from bot.failures.region import End, Region, regions
from bot.failures.summary import message, text
from bot.failures.taxonomy import RETRYABLE, SEVERITY

THRESHOLD = 0.4
RIVAL = 0.25  # a kind this much weaker than the root of its region is noise
MAX_EVIDENCE = 8
# Score, and how often evidence of this score was right; less than measured, as other logs surprise.
CERTAINTY = (
    (0.0, 0.3),
    (0.42, 0.46),
    (0.5, 0.75),
    (0.7, 0.89),
    (0.8, 0.94),
    (0.9, 0.965),
    (1.0, 0.975),
)
RIVALRY = 0.6
UNMARKED = 0.02
LONG = 500  # lines
PASSED = 0.95
SILENT = 0.7  # nothing spoke: nothing failed, or nothing that the table knows
MAX_WAIT_S = 24 * 3600.0
RETRY_AFTER = Pattern(r"(?i)\bretry[- ]after[\"']?[:=]? *[\"']?(\d{1,9})\b")
RESET = Pattern(r"(?i)\bx-ratelimit-reset[\"']?[:=] *[\"']?(\d{9,11})\b")


def classify(
    log: Chunks,
    *,
    step: str = "",
    failed_steps: Sequence[str] = (),
    now: datetime | None = None,
    custom: Table | None = None,
) -> Signal:
    """Return the root cause that *log* tells of; `now` turns a rate limit's reset into a wait."""
    first: Signal | None = None
    for signal in _found(log, step, failed_steps, now, custom):
        if signal.type is not FailureType.UNKNOWN:
            return signal
        first = first or signal
    assert first is not None, "a log has one region at least"
    return first


def classify_all(
    log: Chunks,
    *,
    step: str = "",
    failed_steps: Sequence[str] = (),
    now: datetime | None = None,
    custom: Table | None = None,
) -> tuple[Signal, ...]:
    """Return every failure that *log* tells of, the root cause first; never empty."""
    found = list(_found(log, step, failed_steps, now, custom))
    ranked = [signal for signal in found if signal.type is not FailureType.UNKNOWN] or found[:1]
    first = {signal.type: signal for signal in reversed(ranked)}
    return tuple(signal for signal in ranked if first[signal.type] is signal)


def _found(
    log: Chunks,
    step: str,
    failed_steps: Sequence[str],
    now: datetime | None,
    custom: Table | None,
) -> Iterator[Signal]:
    """Yield what each region tells, the likely root first; nothing is worked out ahead."""
    names = tuple(failed_steps) or ((step,) if step else ())
    for region in regions(log, names):
        rows = matches(region, TABLE)
        if custom is not None:
            rows = ranked((*rows, *matches(region, custom)))
        yield from _signals(region, rows, step or " ".join(failed_steps), now)


def _signals(
    region: Region, rows: Sequence[Match], step: str, now: datetime | None
) -> Iterator[Signal]:
    """Yield the signals of one region, the strongest of each kind, strongest first."""
    if region.end is End.PASSED:
        yield _unknown(region, rows, PASSED)
        return
    best: dict[FailureType, Match] = {}
    for match in rows:
        if match.score >= THRESHOLD:
            best.setdefault(match.rule.type, match)
    meant = (
        purpose(region.command, step or region.step) if region.end is End.FAILED or step else None
    )
    top = max((match.score for match in best.values()), default=0.0)
    if meant and top < meant[1]:
        yield _signal(region, meant[0], None, rows, _certainty(meant[1] - 0.05), now)
        return
    if not best:
        yield _unknown(region, rows, SILENT)
        return
    kinds = sorted(best.items(), key=lambda item: -item[1].score)
    kinds = [item for item in kinds if item[1].score >= top - RIVAL]
    for position, (kind, match) in enumerate(kinds):
        yield _signal(region, kind, match, rows, _confidence(position, kinds, region), now)


def _confidence(position: int, kinds: Sequence[tuple[FailureType, Match]], region: Region) -> float:
    """Return how probable the kind at *position* is.

    A score is the weight of evidence; how often kinds with such evidence are right was measured. It
    is less with a close rival, and when nothing in a long log marks the step that failed.
    """
    score = kinds[position][1].score
    if position:
        return round(max(0.05, score / 2), 3)
    rival = max((match.score for _, match in kinds[1:]), default=0.0)
    doubt = RIVALRY * max(0.0, 0.1 - (score - rival))
    if region.end is End.UNSAID and len(region.lines) > LONG:
        doubt += UNMARKED
    return round(max(0.05, _certainty(score) - doubt), 3)


def _certainty(score: float) -> float:
    """Return how often evidence of this score is right, between the measured points."""
    for (low, left), (high, right) in pairwise(CERTAINTY):
        if score <= high:
            return left + (right - left) * (score - low) / (high - low)
    return CERTAINTY[-1][1]


def _signal(
    region: Region,
    kind: FailureType,
    best: Match | None,
    rows: Sequence[Match],
    confidence: float,
    now: datetime | None,
) -> Signal:
    lines = region.lines
    own = [match for match in rows if match.rule.type is kind and match.score >= THRESHOLD]
    at = sorted({index for match in own[:6] for index in match.at[:MAX_EVIDENCE]})
    every = sorted({index for match in own for index in match.at})
    tool = next((match.rule.tool for match in own if match.rule.tool), "")
    shown = best.at[:MAX_EVIDENCE] if best else ()
    evidence = sorted({*shown, *at[: MAX_EVIDENCE - len(shown)]})
    if best is None:  # nothing spoke: the last words are all there is
        evidence = [index for index in range(max(0, len(lines) - 6), len(lines)) if lines[index]]
        every = evidence
    places = locations(lines[index] for index in _around(every, len(lines)))
    return Signal(
        type=kind,
        confidence=confidence,
        severity=SEVERITY[kind],
        message=message(kind, own, [lines[index] for index in every], lines, places),
        evidence=tuple(Evidence(region.numbers[index], text(lines[index])) for index in evidence),
        tool=tool,
        rule=best.rule.name if best else "",
        locations=places,
        can_retry=kind in RETRYABLE,
        retry_after_s=_wait(region, now) if kind in RETRYABLE else None,
        fingerprint=of_lines((text(lines[index]) for index in every), kind, tool),
        excerpt=of_region(region, own),
    )


def _unknown(region: Region, rows: Sequence[Match], confidence: float) -> Signal:
    return _signal(region, FailureType.UNKNOWN, None, rows, confidence, None)


def _around(at: Sequence[int], size: int) -> list[int]:
    """Return the indices of the deciding lines and of those near them, where places are named."""
    near = {index for line in at[:100] for index in range(max(0, line - 12), min(size, line + 6))}
    return sorted(near)


def _wait(region: Region, now: datetime | None) -> float | None:
    """Return how many seconds the log asks us to wait, at most a day."""
    waits: list[float] = []
    for line in region.lines[-2000:]:
        if b"etry" not in line and b"RETRY" not in line and b"eset" not in line:
            continue
        after = RETRY_AFTER.groups(line)
        if after:
            waits.append(float(after[0]))
        reset = RESET.groups(line)
        if reset and now is not None:
            waits.append(math.ceil(float(reset[0]) - now.timestamp()))
    return min(MAX_WAIT_S, max(0.0, *waits)) if waits else None
