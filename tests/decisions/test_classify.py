# ruff: noqa: E501 (samples are quoted whole)
"""The table of evidence row by row, then regions, ranking, messages and hostile input."""

import gzip
import sys
from datetime import UTC, datetime
from inspect import CO_GENERATOR

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.values import FailureType, Location, Severity, Signal
from bot.failures.classify import classify, classify_all
from bot.failures.patterns import Pattern
from bot.failures.rules import RULES
from bot.failures.taxonomy import RETRYABLE, SEVERITY, requires_replan

STAMP = "2026-01-10T22:40:29.4290000Z "

# What passing steps say. No row may speak for any of these lines, whatever their words.
NOISE = (
    "429 passed",
    "======== 429 passed in 3.00s ========",
    "2026-01-01T00:00:00.4290000Z all good",
    "Tests: 12 passed, 12 total",
    "test result: ok. 2 passed; 0 failed; 0 ignored",
    "0 errors, 0 warnings, 0 informations ",
    "Found 0 vulnerabilities",
    "found 0 vulnerabilities",
    "Success: no issues found in 3 source files",
    "All checks passed!",
    "55 files inspected, no offenses detected",
    "[INFO] Tests run: 5, Failures: 0, Errors: 0, Skipped: 0",
    "✓ should handle 429 Too Many Requests (3 ms)",
    "  ✔ retries after ECONNRESET (2.1ms)",
    "(pass) control options > should throw error for missing --stop argument [0.54ms]",
    "--- PASS: TestNoSpaceLeftOnDevice (0.00s)",
    "ok 3 - reports no space left on device",
    "test errors::rate_limit_exceeded ... ok",
    "tests/test_net.py::test_connection_refused PASSED                        [ 12%]",
    "##[warning]Node.js 20 is deprecated",
    "npm warn deprecated request@2.88.2: request has been deprecated",
    "HEAD is now at 4290000 Merge e403f21 into e0308ab",
    "Downloading error_chain v0.12.4",
    "make: [clean] Error 127 (ignored)",
    "0 failed, 12 passed",
    "Executed 4 tests, with 0 failures (0 unexpected) in 0.033 (0.034) seconds",
    "INFO  [alembic.runtime.migration] Running upgrade 19dc9714d9ea -> e1a664780dc6, Add model",
    "Your code has been rated at 10.00/10 (previous run: 10.00/10, +0.00)",
    "10 examples, 0 failures",
    "ruff.....................................................................Passed",
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_row_matches_its_examples_and_no_noise(rule):
    pattern = Pattern(rule.pattern)
    assert rule.hits, "a row without proof"
    assert 0 < rule.weight < 1
    for line in rule.hits:
        assert pattern.matches(line.encode()), line
    for line in rule.misses:
        assert not pattern.matches(line.encode()), line


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_row_alone_decides_its_kind_unless_a_stronger_row_knows_better(rule):
    for line in rule.hits:
        signal = classify(line)
        best = next(row for row in RULES if row.name == signal.rule) if signal.rule else None
        known = signal.type is rule.type or (best is not None and best.weight >= rule.weight)
        assert known or rule.weight < 0.5, (line, signal.type, signal.rule)


def test_names_of_rows_are_unique():
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("line", NOISE)
def test_what_passing_steps_say_is_no_failure(line):
    assert classify(line).type is FailureType.UNKNOWN


def test_every_kind_has_rows_severity_and_a_retry_word():
    assert {rule.type for rule in RULES} == set(FailureType) - {FailureType.UNKNOWN}
    assert set(SEVERITY) == set(FailureType)
    assert {"transient", "infra", "rate_limit", "unknown"} == {kind.value for kind in RETRYABLE}


# --- regions ------------------------------------------------------------------------------------


def actions(*steps: tuple[str, str, bool]) -> str:
    """Return an Actions job log; each step has a command, its output and whether it failed."""
    lines = ["Current runner version: '2.335.1'", "##[group]Operating System", "##[endgroup]"]
    for command, output, failed in steps:
        lines += [
            f"##[group]Run {command}",
            f"\x1b[36;1m{command}\x1b[0m",
            "shell: /usr/bin/bash -e {0}",
        ]
        lines += ["##[endgroup]", *output.splitlines()]
        lines += ["##[error]Process completed with exit code 1."] if failed else []
    lines += ["Post job cleanup.", "[command]/usr/bin/git version", "Cleaning up orphan processes"]
    return "\n".join(STAMP + line for line in lines)


RUFF = """\
app.py:1:8: F401 [*] `os` imported but unused
Found 1 error.
[*] 1 fixable with the `--fix` option."""
ART = "\n".join(
    "".join(f"\x1b[38;5;{colour}m█▓▒░\x1b[{colour}C╔═╗" for colour in range(40)) for _ in range(30)
)
PYTEST = "FAILED tests/test_a.py::test_b - assert 3 == 4\n==== 1 failed, 2 passed in 0.12s ===="


def test_only_the_failing_step_counts():
    log = actions(
        ("npm ci", "npm error code ECONNREFUSED\nadded 3 packages", False),
        ("ruff check .", RUFF, True),
        ("echo done", "FAILED tests/test_a.py::test_b - assert 3 == 4", False),
    )
    signal = classify(log)
    assert (signal.type, signal.tool) == (FailureType.LINT, "ruff") or signal.tool == "flake8"
    assert signal.locations[0] == Location("app.py", 1, "F401 [*] `os` imported but unused")


def test_the_first_failing_step_is_the_root_and_the_others_follow():
    log = actions(("ruff check .", RUFF, True), ("pytest", PYTEST, True))
    assert [signal.type for signal in classify_all(log)] == [
        FailureType.LINT,
        FailureType.TEST_ASSERT,
    ]


def test_a_step_named_by_github_goes_first():
    log = actions(("ruff check .", RUFF, True), ("pytest", PYTEST, True))
    assert classify(log, failed_steps=("Run pytest",)).type is FailureType.TEST_ASSERT


def test_the_echo_of_a_script_is_no_evidence():
    script = "test -f x || echo '##[error]API rate limit exceeded'"
    log = actions((script, "tests/test_a.py:3: AssertionError\n" + PYTEST, True))
    assert classify(log).type is FailureType.TEST_ASSERT


def test_a_job_that_ends_without_an_error_is_unknown_whatever_its_words():
    log = actions(("pytest", PYTEST, False), ("npm audit", "No space left on device", False))
    signal = classify(log)
    assert signal.type is FailureType.UNKNOWN
    assert signal.can_retry


def test_a_silent_step_is_judged_by_its_command():
    assert classify(actions(("mypy src", "", True))).type is FailureType.TYPECHECK
    assert classify(actions(("true", "", True)), step="Lint").type is FailureType.LINT


def test_a_cancelled_job_does_not_hide_the_job_that_failed():
    log = actions(
        ("sleep 9", "##[error]The operation was canceled.", False), ("pytest", PYTEST, True)
    )
    assert classify(log).type is FailureType.TEST_ASSERT
    alone = actions(("sleep 9", "##[error]The operation was canceled.", False))
    assert classify(alone).type is FailureType.INFRA


def test_columns_of_gh_run_view_are_understood():
    lines = actions(("ruff check .", RUFF, True)).splitlines()
    log = "\n".join(f"build\tUNKNOWN STEP\t\ufeff{line}" for line in lines)
    assert classify(log).type is FailureType.LINT


def test_a_travis_log_is_cut_at_the_command_that_failed():
    log = """\
travis_fold:start:install\r\x1b[0Ktravis_time:start:0a\r\x1b[0K$ npm ci
npm ERR! code ECONNRESET
The command "npm ci" exited with 0.
travis_time:start:0b\r\x1b[0K$ npm test
  1 failing
The command "npm test" exited with 1.
$ after
No space left on device
Done. Your build exited with 1."""
    assert classify(log).type is FailureType.TEST_ASSERT
    assert classify(log.replace("exited with 1.", "exited with 0.")).type is FailureType.UNKNOWN


@pytest.mark.parametrize(
    "log",
    [
        RUFF.encode("utf-16"),
        b"\xef\xbb\xbf" + RUFF.encode(),
        RUFF.replace("\n", "\r\n").encode(),
        RUFF.replace("app.py", "\x1b[1mapp.py\x1b[0m").encode(),
        RUFF.replace("app.py", "10%\r50%\rapp.py").encode(),
        "\n".join(f"[{STAMP.strip()}] {line}" for line in RUFF.splitlines()),
        RUFF.replace("app", "\x1b[31ma\x1b[32mp\x1b[1;33mp\x1b[0m").encode(),
        f"\x1b[2J\x1b[H\n{ART}\n{RUFF}\n{ART}".encode(),
        RUFF.replace("\n", "\0\n").encode(),
        "é".encode()[1:] + b"\n" + RUFF.encode() + b"\n" + "✓".encode()[:2],
        RUFF.replace("os", "é").encode().replace("é".encode(), "é".encode()[:1]),
        RUFF.replace("os", "é").encode("latin-1"),
    ],
    ids=[
        "utf16",
        "bom",
        "crlf",
        "colours",
        "progress",
        "stamped",
        "rainbow",
        "art",
        "nuls",
        "cut-at-both-ends",
        "cut-sign",
        "code-page",
    ],
)
def test_any_dress_is_cleaned(log):
    signal = classify(log)
    assert signal.type is FailureType.LINT
    assert signal.locations[0].path == "app.py"


# --- what a signal says -------------------------------------------------------------------------


def test_a_signal_tells_people_what_failed():
    assert classify(RUFF).message == "flake8: F401 [*] `os` imported but unused in app.py:1" or (
        classify(RUFF).message.startswith("ruff:")
    )
    told = "pytest: 1 test failed, first tests/test_a.py::test_b: assert 3 == 4"
    assert classify(PYTEST).message == told


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("src/a.ts(3,1): error TS2304: Cannot find name 'x'.", ("src/a.ts", 3)),
        ("./a.go:9:2: undefined: foo", ("a.go", 9)),
        ("error[E0425]: cannot find value `x`\n --> src/main.rs:3:5", ("src/main.rs", 3)),
        ("tests/test_a.py:12: AssertionError", ("tests/test_a.py", 12)),
        ("FAILED tests/test_a.py::test_b - assert 3 == 4", ("tests/test_a.py", 0)),
        (
            "src/a.js\n  2:10  error  'x' is not used  no-unused-vars\n\n✖ 1 problem (1 error)",
            ("src/a.js", 2),
        ),
        ("[ERROR] /a/A.java:[3,5] cannot find symbol", ("/a/A.java", 3)),
        ("--- FAIL: TestAdd (0.00s)\n    add_test.go:7: got 3, want 4", ("add_test.go", 7)),
        ("/home/runner/work/x/x/src/a.py:3: error: Bad  [misc]", ("src/a.py", 3)),
    ],
)
def test_places_are_read_from_the_usual_formats(line, place):
    assert place in [(found.path, found.line) for found in classify(line).locations]


def test_severity_and_retry_follow_the_kind():
    leak = classify("remote: - GITHUB PUSH PROTECTION")
    assert (leak.severity, leak.can_retry) == (Severity.CRITICAL, False)
    lost = classify("##[error]The runner has received a shutdown signal.")
    assert (lost.type, lost.can_retry) == (FailureType.INFRA, True)


def test_the_log_says_how_long_to_wait():
    log = "fatal: unable to access 'x': The requested URL returned error: 429\nRetry-After: 60"
    assert classify(log).retry_after_s == 60
    reset = "API rate limit exceeded\nX-RateLimit-Reset: 1700000060"
    now = datetime.fromtimestamp(1_700_000_000, UTC)
    assert classify(reset, now=now).retry_after_s == 60
    assert classify(reset).retry_after_s is None
    assert classify(PYTEST + "\nRetry-After: 60").retry_after_s is None


def test_a_database_out_of_reach_is_transient_even_in_a_migration():
    log = '$ alembic upgrade head\nsqlalchemy.exc.OperationalError: (psycopg2.OperationalError) connection to server at "db", port 5432 failed: Connection refused'
    assert classify(log).type is FailureType.TRANSIENT


def test_evidence_carries_the_numbers_of_the_log():
    log = actions(("ruff check .", RUFF, True))
    numbered = dict(enumerate(log.splitlines(), 1))
    for evidence in classify(log).evidence:
        assert evidence.text in " ".join(numbered[evidence.line].split())


def test_replanning_is_for_the_unknown_and_for_the_many():
    one = classify("nothing")
    assert not requires_replan([one])
    assert requires_replan([one, one])
    kinds = [msgspec.structs.replace(one, type=kind) for kind in list(FailureType)[:4]]
    assert requires_replan(kinds)
    assert not requires_replan(kinds[:3])


# --- hostile input ------------------------------------------------------------------------------

FRAGMENTS = (
    "##[error]all good",
    "##[group]Run x",
    "##[endgroup]",
    "Post job cleanup.",
    "Cleaning up orphan processes",
    STAMP,
    "a\tb\t2026-01-01T00:00:00Z x",
    "a\tc\t2026-01-01T00:00:00Z x",
    'The command "',
    '" exited with 1',
    "section_start:1:x",
    "[Pipeline] { (x)",
    "--- x",
    "$ ",
    "\x1b[",
    "\x1b]8;;",
    "^[[",
    "\r",
    "1%\r2%",
    "\n",
    "\0",
    "\ufeff",
    "\u2028",
    "é",
    "a" * 700,
    "a" * 5000,
    "(" * 300,
    "[" * 200,
    "../../" * 50,
    "C:\\",
    "0x1f",
    "FAILED ",
    "Error: ",
    "::error::",
    "a.py:1:1: F401 x",
    "retry-after: 60",
    "Traceback (most recent call last):",
)
HOSTILE = st.one_of(
    st.binary(max_size=3000),
    st.text(max_size=2000),
    st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("\n".join),
)


@given(HOSTILE)
@settings(max_examples=300)
def test_nothing_makes_it_raise(log):
    signals = classify_all(log)
    assert signals
    for signal in signals:
        assert 0 < signal.confidence < 1
        assert len(signal.excerpt) <= 24_000
        assert msgspec.json.decode(msgspec.json.encode(signal), type=Signal) == signal


def work(log: bytes) -> int:
    """Return how many calls it takes to classify *log*, plus the bytes that they hand on."""
    done = 0

    def count(frame, event, _):
        nonlocal done
        done += 1
        code = frame.f_code
        if event == "call" and not code.co_flags & CO_GENERATOR:  # which are called once a value
            handed = map(frame.f_locals.get, code.co_varnames[: code.co_argcount])
            done += sum(len(value) for value in handed if isinstance(value, bytes | str))

    sys.setprofile(count)
    try:
        classify_all(log)
    finally:
        sys.setprofile(None)
    return done


@given(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=6),
    st.sampled_from(["", "\n", f"\n{STAMP}"]),
)
@settings(max_examples=100)
def test_twice_the_log_is_at_most_twice_the_work(fragments, glue):
    piece = (glue.join(fragments) + glue).encode()
    log = piece * max(20, 8000 // len(piece))  # more steps than are looked at
    assert work(log * 2) <= 2.2 * work(log) + 30_000


@pytest.mark.parametrize(
    "log",
    [
        b"",
        b"\n" * 100_000,
        b"a" * 3_000_000,
        b"\x1b[" * 500_000,
        b"(a+)+$ " * 200_000,
        b"a.b:" * 500_000,
        b"\r" * 1_000_000,
        bytes(range(256)) * 4000,
        gzip.compress(PYTEST.encode() * 1000),
        ART.encode() * 50,
        ART.encode("utf-16") * 50,
    ],
    ids=[
        "empty",
        "newlines",
        "one-line",
        "escapes",
        "brackets",
        "colons",
        "returns",
        "binary",
        "packed",
        "art",
        "art-utf16",
    ],
)
def test_large_and_strange_logs_are_unknown(log):
    assert classify(log).type is FailureType.UNKNOWN


def test_a_log_that_lies_gets_the_honest_answer():
    assert classify(STAMP + "##[error]all good").confidence < 0.5
