# ruff: noqa: E501 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of failed tests: Go, Rust, the JVM, .NET, C, C++, Apple, Dart and others."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.TEST_ASSERT)

RULES = (
    # --- Go, Rust
    row(
        "go-fail",
        "go test",
        0.965,
        r"^ *--- FAIL: ",
        "--- FAIL: TestAdd (0.00s)",
        "    --- FAIL: TestAdd/zero (0.00s)",
        but_not=("--- PASS: TestFails (0.00s)",),
    ),
    row(
        "go-package",
        "go test",
        0.92,
        r"^FAIL\t\S+\t[\d.]+s",
        "FAIL\texample.com/svc\t0.003s",
        but_not=("ok  \texample.com/svc\t0.003s",),
    ),
    row(
        "ginkgo",
        "ginkgo",
        0.94,
        r"^FAIL! -- ",
        "FAIL! -- 3 Passed | 1 Failed | 0 Pending | 0 Skipped",
    ),
    row(
        "gotestsum",
        "go test",
        0.965,
        r"^DONE \d+ tests.*[1-9]\d* failures?",
        "DONE 12 tests, 1 failure in 0.5s",
    ),
    row(
        "cargo-result",
        "cargo test",
        0.965,
        r"^test result: FAILED",
        "test result: FAILED. 1 passed; 1 failed; 0 ignored",
        but_not=("test result: ok. 2 passed; 0 failed",),
    ),
    row(
        "cargo-case",
        "cargo test",
        0.94,
        r"^test \S.* \.\.\. FAILED$",
        "test tests::adds ... FAILED",
    ),
    row(
        "nextest",
        "cargo nextest",
        0.965,
        r"Summary \[.*[1-9]\d* failed",
        "     Summary [   0.2s] 10 tests run: 9 passed, 1 failed, 0 skipped",
    ),
    # --- JVM
    row(
        "surefire-count",
        "surefire",
        0.965,
        r"Tests run: \d+, Failures: (\d+, Errors: [1-9]|[1-9])",
        "[ERROR] Tests run: 5, Failures: 1, Errors: 0, Skipped: 0",
        "Tests run: 5, Failures: 0, Errors: 2, Skipped: 0",
        but_not=("[INFO] Tests run: 5, Failures: 0, Errors: 0, Skipped: 0",),
    ),
    row(
        "surefire-case",
        "surefire",
        0.93,
        r"<<< (FAILURE|ERROR)!",
        "testAdd(com.x.AddTest)  Time elapsed: 0.01 s  <<< FAILURE!",
    ),
    row(
        "surefire-goal",
        "surefire",
        0.9,
        r"There (are|were) (test failures|failing tests)",
        "[ERROR] There are test failures.",
        "> There were failing tests. See the report at: file:///x",
    ),
    row(
        "gradle-count",
        "gradle",
        0.965,
        r"^\d+ tests? completed, [1-9]\d* failed",
        "12 tests completed, 1 failed",
    ),
    row(
        "gradle-case",
        "gradle",
        0.9,
        r"^\S+ > .+ FAILED$",
        "com.x.AddTest > adds FAILED",
        "AddTest > adds() FAILED",
    ),
    row(
        "scalatest",
        "sbt",
        0.965,
        r"\*\*\* [1-9]\d* (TESTS?|SUITES?) (FAILED|ABORTED) \*\*\*",
        "[info] *** 1 TEST FAILED ***",
    ),
    row(
        "sbt-tests",
        "sbt",
        0.965,
        r"sbt\.TestsFailedException|Failed: Total \d+, Failed [1-9]",
        "[error] (Test / test) sbt.TestsFailedException: Tests unsuccessful",
    ),
    # --- .NET, C, C++, Apple, Dart, others
    row(
        "dotnet-count",
        "dotnet test",
        0.965,
        r"^ *Failed! +- Failed: +[1-9]",
        "Failed!  - Failed:     1, Passed:     4, Skipped:     0, Total:     5",
    ),
    row("dotnet-run", "dotnet test", 0.965, r"^ *Test Run Failed\.", "Test Run Failed."),
    row(
        "dotnet-case",
        "dotnet test",
        0.9,
        r"^ *Failed \S+ \[[<\d ]+\w+\]$",
        "  Failed Tests.Adds [12 ms]",
        "  Failed Tests.Adds [< 1 ms]",
    ),
    row(
        "ctest",
        "ctest",
        0.965,
        r"% tests passed, [1-9]\d* tests? failed out of",
        "90% tests passed, 1 tests failed out of 10",
        but_not=("100% tests passed, 0 tests failed out of 10",),
    ),
    row(
        "ctest-list", "ctest", 0.92, r"^The following tests FAILED:", "The following tests FAILED:"
    ),
    row("gtest", "gtest", 0.965, r"^\[ +FAILED +\] ", "[  FAILED  ] AddTest.Adds (0 ms)"),
    row(
        "catch2",
        "catch2",
        0.93,
        r"^(test cases|assertions): +\d+ \|.*[1-9]\d* failed",
        "test cases: 3 | 2 passed | 1 failed",
    ),
    row(
        "meson-test",
        "meson",
        0.93,
        r"^Fail: +[1-9]",
        "Fail:              1",
        but_not=("Fail:              0",),
    ),
    row(
        "automake-test",
        "automake",
        0.965,
        r"^# (FAIL|ERROR): +[1-9]",
        "# FAIL:  2",
        but_not=("# FAIL:  0",),
    ),
    row(
        "xctest-count",
        "xctest",
        0.965,
        r"Executed \d+ tests?, with (\d+ tests? skipped and )?[1-9]\d* failures?",
        "Executed 48 tests, with 3 failures (3 unexpected) in 0.471 seconds",
        but_not=("Executed 4 tests, with 0 failures (0 unexpected) in 0.033 (0.034) seconds",),
    ),
    row(
        "xctest-case",
        "xctest",
        0.92,
        r"^Test Case .* failed \(",
        "Test Case '-[A B]' failed (0.007 seconds).",
    ),
    row("xcode-test", "xcodebuild", 0.9, r"^\*\* TEST FAILED \*\*", "** TEST FAILED **"),
    row(
        "flutter",
        "flutter",
        0.965,
        r"^(.*: )?Some tests failed\.$",
        "00:03 +10 -1: Some tests failed.",
    ),
    row(
        "mozilla",
        "mochitest",
        0.95,
        r"TEST-UNEXPECTED-",
        "12:00:01     INFO - TEST-UNEXPECTED-FAIL | a.js | got 1, expected 2",
    ),
    row(
        "tasty",
        "tasty",
        0.93,
        r"^[1-9]\d* out of \d+ tests failed",
        "2 out of 40 tests failed (0.01s)",
    ),
    row(
        "junit-dynamic",
        "junit",
        0.85,
        r"(org\.opentest4j\.AssertionFailedError|java\.lang\.AssertionError|junit\.framework\.\w*AssertionFailed\w*|org\.junit\.ComparisonFailure)",
        "org.opentest4j.AssertionFailedError: expected: <1> but was: <2>",
    ),
    row(
        "tests-failed-words",
        "",
        0.7,
        r"(?i)^(error: |##\[error\])?[1-9]\d* (of \d+ )?(unit |integration )?tests? (have )?failed\b",
        "3 tests failed",
        "##[error]2 of 9 tests failed",
    ),
)
