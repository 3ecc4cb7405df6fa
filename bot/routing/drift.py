"""Is a lane getting worse? A look for a trend, well before a limit is reached.

The Page-Hinkley test (E. S. Page, 1954; as river keeps it) adds up by how much the values exceed
their mean so far and speaks when the sum has grown too much: it needs a dozen calls where an
adaptive window (ADWIN) needs hundreds, and a backend has dozens an hour. Its state is not stored:
the calls are, and reading sixty of them again takes some microseconds.
"""

from collections.abc import Sequence
from math import log2
from statistics import fmean

from bot.domain.health import Sample

LEAST = 10  # calls before anything is said, and of the beginning that the end is compared with
NEWEST = 5
# How much an excess must be to count, and how much of it must add up. A response time counts in
# doublings: ten answers in a row that take 40 % longer are enough, chance is not.
SLACK, ENOUGH = 0.1, 3.0
FAILING_SLACK, FAILING_ENOUGH = 0.05, 2.0  # about three failures within fifteen calls
WORTH_SLOWER, WORTH_FAILING = 2.0, 0.15  # less is not worth leaving a lane for


def drifting(samples: Sequence[Sample]) -> str:
    """Return what is getting worse, empty when nothing is."""
    if len(samples) < LEAST + NEWEST:
        return ""
    failed = [1.0 if sample.failed else 0.0 for sample in samples]
    before, now = fmean(failed[:LEAST]), fmean(failed[-LEAST:])
    if now >= before + WORTH_FAILING and _grows(failed, FAILING_SLACK, FAILING_ENOUGH):
        return f"its calls fail more often: {before:.0%}, now {now:.0%}"
    times = [log2(one.response_s) for one in samples if one.response_s]
    if len(times) < LEAST + NEWEST:
        return ""
    before, now = 2 ** fmean(times[:LEAST]), 2 ** fmean(times[-NEWEST:])
    if now >= before * WORTH_SLOWER and _grows(times, SLACK, ENOUGH):
        return f"its answers take longer: {before:.1f} s, now {now:.1f} s"
    return ""


def _grows(values: Sequence[float], slack: float, enough: float) -> bool:
    """Tell whether the values have begun to grow somewhere on the way."""
    # Imported when first needed: it brings scipy, half a second and 100 MB that a process which
    # routes nothing, or whose backends are steady, need not pay.
    from river.drift import PageHinkley  # noqa: PLC0415

    test = PageHinkley(min_instances=LEAST, delta=slack, threshold=enough, mode="up")
    for value in values:
        test.update(value)
        if test.drift_detected:
            return True
    return False
