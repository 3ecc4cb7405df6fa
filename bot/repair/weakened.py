# ruff: noqa: E501 (patterns are quoted whole)
"""Tests that a patch weakens: deleted, skipped, emptied, or with fewer assertions than before.

A patch that makes tests green by asking less of them mends nothing. What is counted is what each
file loses and gains, so that a moved or renamed test does not alarm.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from bot.domain.values import Value

TEST_PATH = re.compile(
    r"(?i)(^|/)(tests?|specs?|__tests__|e2e|testing|src/test|androidTest)/"
    r"|(^|/)(test_[^/]*|conftest|[^/]*_test|[^/]*_spec)\.[a-z]+$"
    r"|\.(test|spec|e2e|cy)\.[a-z]+$"
    r"|(?-i:(Tests?|Spec|IT)\.(java|kt|kts|scala|groovy|cs|swift|php)$)"
)
SETTINGS = re.compile(
    r"(^|/)(pyproject\.toml|setup\.cfg|tox\.ini|pytest\.ini|conftest\.py|noxfile\.py|package\.json"
    r"|(jest|vitest|vite|karma|playwright|cypress)[^/]*\.(js|ts|cjs|mjs|json)|\.mocharc[^/]*|Makefile"
    r"|phpunit\.xml[^/]*|\.rspec|build\.gradle(\.kts)?|pom\.xml|Cargo\.toml)$"
)
TEST_DEFINED = re.compile(
    r"^\s*(?:(?:async )?def (?P<py>test\w*)\s*\("
    r"|func (?P<go>Test\w+|Example\w+|Fuzz\w+)\s*\("
    r"|(?:it|test|specify|scenario)(?:\.each\([^)]{0,200}\))?\(\s*(?P<js>['\"`][^'\"`]{0,200})"
    r"|(?P<attribute>#\[(?:\w+::)?test\b|@(?:Parameterized)?Test\b|\[(?:Fact|Theory|Test|TestMethod)\b)"
    r"|(?:public )?function (?P<php>test\w+)\s*\(|(?:it|example) (?P<rb>['\"][^'\"]{0,200}))"
)
SKIPPED = re.compile(
    r"pytest\.mark\.(skip|skipif|xfail)\b|\bpytest\.(skip|xfail|importorskip)\s*\(|\bunittest\.(skip\w*|expectedFailure)\b"
    r"|@(skip|skipIf|skipUnless|expectedFailure)\b|\bself\.skipTest\(|\braise (unittest\.)?SkipTest\b"
    r"|\b(it|test|describe|context|suite|specify)(\.concurrent)?\.(skip|skipIf|only|todo|fails|failing|fixme)\b"
    r"|\b(xit|xdescribe|xtest|xcontext|xspecify|fit|fdescribe|fcontext)\s*[(\s'\"]|\bthis\.skip\("
    r"|\bt\.Skip(Now|f)?\(|^\s*//go:build (ignore|never)|#\[ignore\b|cfg_attr\([^)]{0,100}ignore"
    r"|@(Disabled|Ignore)\w*\b|\bAssum(e|ptions)\.assum\w+|@Test\(.{0,60}enabled\s*=\s*false"
    r"|\[Ignore\b|\bSkip\s*=\s*\"|\bmarkTest(Skipped|Incomplete)\b|^\s*(skip|pending)\b(\s*['\"(]|\s*$)"
)
ASSERTED = re.compile(
    r"^\s*(assert\b|await expect\b|expect\b|self\.(assert|fail)\w*\(|assert\w*!?\s*[(.]|debug_assert\w*!|with (pytest\.raises|self\.assert)"
    r"|t\.(Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(|require\.\w+\(|is\.\w+\(|Assert(ions)?\.\w+|\$this->assert\w+|verify\(|XCTAssert\w*|EXPECT_\w+|ASSERT_\w+|CHECK\(|REQUIRE\("
    r"|should\b|\.should\b|cy\..*\.should)|\)\.(should|to)\b|\bexpect\("
)
EMPTY = re.compile(
    r"^\s*(assert (True|1|not False|1 == 1|True == True)\s*(#.*|,.*)?$|self\.assertTrue\(True\)"
    r"|expect\((true|1|!0)\)\.(toBe|toEqual|toBeTruthy)\((true|1)?\)|assert!\(true\)|assertTrue\(true\)"
    r"|assert(_eq)?!\((?P<same>\w+), ?(?P=same)\)|(if False|if 0|when false)\b)"
)
COMMENT = re.compile(r"^\s*(#(?!\[)|//|\*|/\*|<!--|--|;)")
DESELECTED = re.compile(
    r"--deselect\b|--ignore(-glob)?[= ]|\bcollect_ignore|norecursedirs|testPathIgnorePatterns|modulePathIgnorePatterns"
    r"|passWithNoTests|--testNamePattern|\bgrepInvert\b|<skipTests>|-DskipTests|maven\.test\.(skip|failure\.ignore)|ignoreFailures\s*=\s*true"
    r"|\bpytest\b.{0,200}\s(-k\b|-m\s*['\"]|--lf\b|--co\b)|addopts.{0,200}\s-[km]\b|--maxfail|-p no:"
    r"|testFailureIgnore|--no-fail-on|--exit-zero|\|\| ?(true|:)\b|autotest\s*=\s*false|\btest\s*=\s*false"
)

# What says which tests there are: any change of it is for a person to see.
CHOOSES = re.compile(
    r"^\s*['\"]?(testpaths|addopts|python_(files|classes|functions)|testMatch|testRegex|roots|projects)\b"
)
# Hooks of pytest that choose tests or judge them, and ends that no failure survives.
HOOKED = re.compile(
    r"\bdef pytest_(collection_modifyitems|ignore_collect|collect_\w+|pycollect_\w+|generate_tests|itemcollected"
    r"|runtest_\w+|pyfunc_call|report_\w+|sessionfinish|exception_interact|deselected|cmdline_\w+|load_initial_conftests)\b"
    r"|\bdef load_tests\b|__unittest_skip__|__test__\s*=\s*False|\bos\._exit\(|\bprocess\.exit\(0|(sys\.)?exit\(0?\)"
    r"|TestCase\.(run|__call__)\s*=|\bnode:test\b.{0,80}skip"
)
THRESHOLD = re.compile(
    r"\b(fail[_-]under|branches|functions|lines|statements|minimum|threshold)['\"]?\s*[=: ]\s*(\d{1,3}(?:\.\d+)?)\b"
)
# What a test expects: literals, comparisons, and how it asserts. Names may change with the code.
EXPECTED = re.compile(
    r"[rbfu]{0,2}(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`)|\b\d[\w.]*|\b(?:True|False|None|true|false|null|nil|undefined)\b"
    r"|[=!<>]=+|[<>]|\b(?:not|in|is)\b|\b(?:assert|to|raises|throws)\w*"
)


class Weakness(Value, frozen=True):
    """One way in which a patch asks less of the tests; `line` is 0 for a whole file."""

    rule: str
    line: int
    message: str


def is_test(path: str) -> bool:
    """Return whether *path* names a test by the customs of its language."""
    return TEST_PATH.search(path) is not None


def weaknesses(
    path: str, added: Sequence[tuple[int, str]], removed: Sequence[tuple[int, str]]
) -> Iterator[Weakness]:
    """Yield how the lines added to and removed from *path* weaken tests."""
    new = [(number, line) for number, line in added if not COMMENT.match(line)]
    old = [(number, line) for number, line in removed if not COMMENT.match(line)]
    if SETTINGS.search(path):
        yield from _more(DESELECTED, old, new, "tests-deselected", "fewer tests would run or count")
        yield from _chosen(old, new)
        yield from _lowered(old, new)
    if is_test(path) or path.endswith(".py"):
        yield from _more(
            HOOKED, old, new, "tests-deselected", "a hook that chooses, judges or ends tests"
        )
    lost = [*_tests(old)]
    gained = [*_tests(new)]
    if len(lost) > len(gained):
        named = ", ".join(name for name in lost if name not in gained)[:120]
        yield Weakness("tests-removed", 0, f"{_many(len(lost) - len(gained), 'test')}: {named}")
    if not is_test(path) and not lost and not gained:
        return
    yield from _more(
        SKIPPED, old, new, "tests-skipped", "a test is skipped, expected to fail or run alone"
    )
    yield from _more(EMPTY, old, new, "assertion-emptied", "an assertion that always holds")
    fewer = sum(1 for _, line in old if ASSERTED.search(line)) - sum(
        1 for _, line in new if ASSERTED.search(line) and not EMPTY.search(line)
    )
    if fewer > 0:
        removed_at = old[0][0] if old else 0
        yield Weakness("assertions-removed", removed_at, _many(fewer, "assertion"))
    elif changed := _expected(old) - _expected(new):
        told = ", ".join(sorted(changed))[:120]
        at = next((number for number, line in new if ASSERTED.search(line)), 0)
        yield Weakness("expectations-changed", at, f"a test expects something else than {told}")


def _chosen(old: Sequence[tuple[int, str]], new: Sequence[tuple[int, str]]) -> Iterator[Weakness]:
    before = {line.strip() for _, line in old if CHOOSES.search(line)}
    after = {line.strip(): number for number, line in new if CHOOSES.search(line)}
    if before - after.keys() or (after.keys() - before and before):
        at = min(after.values(), default=0)
        yield Weakness("tests-deselected", at, "which tests run is changed")


def _lowered(old: Sequence[tuple[int, str]], new: Sequence[tuple[int, str]]) -> Iterator[Weakness]:
    """Yield a threshold that is lower than before, or gone."""
    before, after = _thresholds(old), _thresholds(new)
    for name, number in before.items():
        if after.get(name, 0.0) < number:
            now = f"{after[name]:g}" if name in after else "nothing"
            yield Weakness("tests-deselected", 0, f"{name} falls from {number:g} to {now}")


def _thresholds(lines: Sequence[tuple[int, str]]) -> dict[str, float]:
    found = [match for _, line in lines for match in THRESHOLD.finditer(line)]
    return {match[1].replace("-", "_"): float(match[2]) for match in found}


def _expected(lines: Sequence[tuple[int, str]]) -> Counter[str]:
    """Return what the assertions among *lines* expect, however they are laid out."""
    told = (word for _, line in lines if ASSERTED.search(line) for word in EXPECTED.findall(line))
    return Counter(word.replace("'", '"') for word in told)


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''} removed"


def _tests(lines: Sequence[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        found = TEST_DEFINED.match(line)
        if found:
            yield next(group for group in found.groups() if group).strip("'\"`")


def _more(
    pattern: re.Pattern[str],
    old: Sequence[tuple[int, str]],
    new: Sequence[tuple[int, str]],
    rule: str,
    message: str,
) -> Iterator[Weakness]:
    """Yield a weakness when *pattern* occurs in more new lines than old ones."""
    found = [number for number, line in new if pattern.search(line)]
    if len(found) > sum(1 for _, line in old if pattern.search(line)):
        yield Weakness(rule, found[0], message)
