# ruff: noqa: E501, RUF001 (patterns are quoted whole, with the signs that tools print)
"""One sentence about a failure, for the people who read the pull request."""

from collections.abc import Sequence

from bot.domain.values import FailureType, Location
from bot.failures.evidence import Match
from bot.failures.patterns import Pattern

WORDS = {
    FailureType.TRANSIENT: "the network failed",
    FailureType.INFRA: "the machine or the service around the job failed",
    FailureType.TEST_ASSERT: "tests failed",
    FailureType.LINT: "the linter or formatter objects",
    FailureType.TYPECHECK: "the type checker objects",
    FailureType.SECURITY: "a security check found something",
    FailureType.POLICY: "a policy or a permission stands in the way",
    FailureType.RUNTIME: "the program or its build failed",
    FailureType.SCHEMA_MIGRATION: "the database schema does not fit",
    FailureType.RATE_LIMIT: "a rate limit or quota was reached",
    FailureType.UNKNOWN: "nothing in the log says why",
}
LENGTH = 300
SUMMED = 0.12
FAILED_TEST = Pattern(r"^(?:FAILED|ERROR) (\S+)(?: - (.+))?$")
COUNT = Pattern(
    r"\b([1-9]\d*) (?:tests? )?(?:failed|failures?|failing|fail)\b|(?:Failures|Failed|failures)[:=] ?([1-9]\d*)"
)
NAMED = (
    Pattern(r"^ *--- FAIL: (\S+)"),
    Pattern(r"^test (\S.*) \.\.\. FAILED$"),
    Pattern(r"^ +● (.+ › .+)$"),
    Pattern(r"^(?:FAIL|ERROR): (test\w* \(.+\))$"),
    Pattern(r"^rspec (\S+)"),
    Pattern(r"^\(fail\) (.+?)(?: \[.*\])?$"),
    Pattern(r"^ *✖ (.+?) \([\d.]+ms\)$"),
    Pattern(r"^\[ +FAILED +\] (\S+)"),
    Pattern(r"^(\S+ > .+) FAILED$"),
)


def text(line: bytes) -> str:
    """Return a line of a log for people: one line, capped."""
    plain = " ".join(line.decode("utf-8", "replace").split()).strip("_=- ")  # rules drawn around
    return plain if len(plain) <= LENGTH else plain[: LENGTH - 1] + "…"


def message(
    kind: FailureType,
    own: Sequence[Match],
    deciding: Sequence[bytes],
    lines: Sequence[bytes],
    places: Sequence[Location],
) -> str:
    """Return what failed in one sentence, with its tool and place where the log names them.

    Sums stand at the end, so the earliest of the strong lines tells most.
    """
    if not own:
        return f"{WORDS[kind].capitalize()}."
    best = own[0]
    told = min(match.at[0] for match in own if match.score >= best.score - SUMMED)
    if kind is FailureType.TEST_ASSERT:
        tests = _tests(deciding)
        if tests:
            return f"{best.rule.tool}: {tests}" if best.rule.tool else tests
    line = text(lines[told]).removeprefix("##[error]").strip()
    place = next((place for place in places if place.message and place.message[:60] in line), None)
    if place is None and kind in {FailureType.LINT, FailureType.TYPECHECK}:
        place = next((place for place in places if place.message), None)
    if place is not None and place.message:
        where = f"{place.path}:{place.line}" if place.line else place.path
        line = f"{place.message} in {where}"
    lead = best.rule.tool or WORDS[kind]
    return (line if line.startswith(lead) else f"{lead}: {line}")[:LENGTH]


def _tests(lines: Sequence[bytes]) -> str:
    """Return how many tests failed and which first, as far as the log says it."""
    first, count = "", 0
    for line in lines:
        if not first:
            summary = FAILED_TEST.groups(line)
            if summary and ("::" in summary[0] or summary[1]):
                first = f"{summary[0]}: {summary[1]}" if summary[1] else summary[0]
            else:
                named = next((got for got in (one.groups(line) for one in NAMED) if got), None)
                first = named[0] if named else ""
        numbers = COUNT.groups(line)
        if numbers:
            count = int((numbers[0] or numbers[1])[:6])
    if not first and not count:
        return ""
    counted = f"{count} test{'s' if count != 1 else ''} failed" if count else "tests failed"
    return (f"{counted}, first {first}" if first else counted)[:LENGTH]
