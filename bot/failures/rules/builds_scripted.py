# ruff: noqa: E501, RUF001 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of broken imports, installs and crashes: collection of tests, Python, JavaScript."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.RUNTIME)

RULES = (
    # --- tests that could not be collected
    row(
        "pytest-collection",
        "pytest",
        0.972,
        r"^!+ Interrupted: \d+ errors? during collection|^ERROR collecting |^_+ ERROR collecting |^ImportError while (importing test module|loading conftest)|ImportError while loading conftest",
        "!!!!!!!! Interrupted: 1 error during collection !!!!!!!!",
        "_____ ERROR collecting tests/test_a.py _____",
    ),
    row(
        "pytest-usage",
        "pytest",
        0.95,
        r"^ERROR: (file or directory not found|not found: |usage: |.*unrecognized arguments)|^(__main__\.py|pytest): error: |INTERNALERROR>",
        "ERROR: file or directory not found: tests",
        "pytest: error: unrecognized arguments: --cov",
    ),
    row(
        "pytest-none",
        "pytest",
        0.85,
        r"^=+ (\d+ \w+, )*no tests ran in |^no tests ran in ",
        "===== no tests ran in 0.01s =====",
    ),
    row(
        "unittest-loader",
        "unittest",
        0.975,
        r"unittest\.loader\._FailedTest",
        "ERROR: test_a (unittest.loader._FailedTest.test_a)",
    ),
    row(
        "jest-suite", "jest", 0.9, r"^ +● Test suite failed to run", "  ● Test suite failed to run"
    ),
    row(
        "jest-none",
        "jest",
        0.9,
        r"^No tests found, exiting with code 1|No test files found, exiting with code 1",
        "No tests found, exiting with code 1",
    ),
    row("vitest-suites", "vitest", 0.9, r"Failed Suites [1-9]", "⎯⎯⎯ Failed Suites 1 ⎯⎯⎯"),
    row(
        "rspec-load",
        "rspec",
        0.96,
        r"[1-9]\d* errors? occurred outside of examples|An error occurred while loading ",
        "0 examples, 0 failures, 1 error occurred outside of examples",
    ),
    row(
        "go-build-failed",
        "go build",
        0.96,
        r"^FAIL\t?.*\[(build|setup) failed\]",
        "FAIL\texample.com/svc [build failed]",
    ),
    # --- Python
    row(
        "pip-build",
        "pip",
        0.93,
        r"^ *(error|ERROR): (metadata-generation-failed|subprocess-exited-with-error|externally-managed-environment|legacy-install-failure)|Failed (to build|building wheel for) |^ERROR: Failed to build|Could not build wheels",
        "error: metadata-generation-failed",
        "  ERROR: Failed building wheel for numpy",
    ),
    row(
        "pip-resolve",
        "pip",
        0.93,
        r"^ERROR: (No matching distribution found|Could not find a version that satisfies|Cannot install|ResolutionImpossible|Could not open requirements file|Invalid requirement|Package .* requires a different Python)|No solution found when resolving|version solving failed|pyproject\.toml changed significantly since",
        "ERROR: No matching distribution found for foo==9.9",
        "  × No solution found when resolving dependencies:",
    ),
    row(
        "pip-hash",
        "pip",
        0.9,
        r"THESE PACKAGES DO NOT MATCH THE HASHES",
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
    ),
    row(
        "python-import",
        "python",
        0.8,
        r"^(E +)?(ModuleNotFoundError|ImportError)\b",
        "ModuleNotFoundError: No module named 'requests'",
        "E   ModuleNotFoundError: No module named 'x'",
    ),
    row(
        "python-module",
        "python",
        0.8,
        r": No module named \S+$",
        "/usr/bin/python3: No module named pytest",
    ),
    row(
        "python-syntax",
        "python",
        0.8,
        r"^(E +)?(SyntaxError|IndentationError|TabError): ",
        "SyntaxError: invalid syntax",
    ),
    row(
        "python-raised",
        "python",
        0.72,
        r"^([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Exit|Interrupt): ",
        "UnicodeDecodeError: 'charmap' codec can't decode byte 0x81",
        "sqlalchemy.exc.ArgumentError: x",
        "KeyError: 'a'",
    ),
    row(
        "python-traceback",
        "python",
        0.55,
        r"^ *Traceback \(most recent call last\):",
        "Traceback (most recent call last):",
    ),
    row(
        "sphinx",
        "sphinx",
        0.85,
        r"^Warning, treated as error:|build finished with problems",
        "build finished with problems, 1 warning (with warnings treated as errors).",
    ),
    row(
        "tox",
        "tox",
        0.5,
        r"^ERROR: +\S+: (commands failed|could not install deps|parallel child exit)|^ *\S+: (commands|install|package) failed|InvocationError for command",
        "ERROR:   py39: commands failed",
    ),
    # --- JavaScript
    row(
        "npm-resolve",
        "npm",
        0.95,
        r"npm (ERR!|error) code (ERESOLVE|EUSAGE|ETARGET|EBADENGINE|EJSONPARSE|EINTEGRITY|EBADPLATFORM|ENOLOCK|EINVALIDPACKAGENAME|EUNSUPPORTEDPROTOCOL|EOVERRIDE)",
        "npm ERR! code ERESOLVE",
        "npm error code EUSAGE",
        but_not=("npm ERR! code ECONNRESET", "npm error code E403"),
    ),
    row(
        "npm-missing",
        "npm",
        0.9,
        r"npm (ERR!|error) code (E404|ENOENT|EEXIST|ENOTEMPTY|EPERM|EACCES|ENOTDIR)\b",
        "npm error code E404",
    ),
    row(
        "npm-script",
        "npm",
        0.93,
        r"(npm (ERR!|error) |error )?(Missing script:|Command \"\S+\" not found|ERR_PNPM_NO_SCRIPT|error Command \"\S+\" not found)",
        'npm error Missing script: "lint"',
    ),
    row(
        "lockfile",
        "yarn",
        0.95,
        r"lockfile needs to be updated|ERR_PNPM_(OUTDATED_LOCKFILE|LOCKFILE_BREAKING|PEER_DEP|NO_MATCHING_VERSION|UNSUPPORTED_ENGINE)|YN0028|lockfile would have been (created|modified)|(Cargo\.lock|the lock file) .*needs to be updated",
        "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.",
    ),
    row(
        "yarn-resolve",
        "yarn",
        0.93,
        r"^error (Couldn't find (package|any versions)|.*The engine \"\w+\" is incompatible|Found incompatible module|An unexpected error occurred: \"(?-s:[^\"]*)(not found|Not found))",
        'error foo@1.0.0: The engine "node" is incompatible with this module. Expected version ">=18".',
    ),
    row(
        "npm-lifecycle",
        "npm",
        0.35,
        r"npm (ERR!|error) (code ELIFECYCLE|Lifecycle script|errno [1-9]|command failed)|^error Command failed with exit code [1-9]|ELIFECYCLE",
        "npm ERR! code ELIFECYCLE",
        "error Command failed with exit code 1.",
    ),
    row(
        "node-module",
        "node",
        0.88,
        r"Cannot find (module|package) '|ERR_MODULE_NOT_FOUND|ERR_REQUIRE_ESM|Module not found: |Can't resolve '",
        "Error: Cannot find module 'chalk'",
        "Module not found: Error: Can't resolve './x'",
    ),
    row(
        "node-raised",
        "node",
        0.72,
        r"^(Uncaught )?(TypeError|ReferenceError|SyntaxError|RangeError|EvalError|URIError)( \[\w+\])?: ",
        "TypeError: Cannot read properties of undefined (reading 'x')",
    ),
    row(
        "node-enoent",
        "node",
        0.78,
        r"ENOENT: no such file or directory|EISDIR: |EEXIST: ",
        "Error: ENOENT: no such file or directory, open './js/package.json'",
    ),
    row(
        "node-unhandled",
        "node",
        0.65,
        r"UnhandledPromiseRejection|^ *throw (err|new Error|error)|triggerUncaughtException",
        "[UnhandledPromiseRejection: x]",
    ),
    row(
        "bundler-js",
        "webpack",
        0.88,
        r"^ERROR in \S|^Failed to compile|✘ \[ERROR\]|^error during build:|Build failed with \d+ errors?|RollupError|webpack \S+ compiled with [1-9]\d* errors?|^\[vite[:\w-]*\] .*(failed|error)|^> Build error occurred|Build optimization failed",
        "error during build:",
        '✘ [ERROR] Could not resolve "x"',
        "webpack 5.1.0 compiled with 1 error in 3000 ms",
    ),
)
