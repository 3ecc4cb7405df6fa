"""Where a log failed: each service's marks, streams, limits, and logs that lie."""

import io
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise, repeat

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.domain.values import FailureType, Signal
from bot.failures.classify import classify, classify_all
from bot.failures.reader import CHUNK, HEAD, MAX_MARKS, TAIL
from bot.failures.region import End, regions

STAMP = "2026-01-10T22:40:29.4290000Z "
FAILED = "FAILED tests/test_a.py::test_b - assert 3 == 4"
NOISE = "ERROR: connection refused, will try again"

GITLAB = f"""\
section_start:1:prepare\r\x1b[0KPreparing
{NOISE}
section_end:1:prepare\r\x1b[0K
section_start:2:step_script\r\x1b[0KExecuting
\x1b[32;1m$ pytest\x1b[0;m
{FAILED}
section_end:2:step_script\r\x1b[0K
section_start:3:after_script\r\x1b[0KRunning after_script
No space left on device
section_end:3:after_script\r\x1b[0K
ERROR: Job failed: exit code 1"""
JENKINS = f"""\
[Pipeline] stage
[Pipeline] {{ (Install)
{NOISE}
[Pipeline] stage
[Pipeline] {{ (Test)
[Pipeline] sh
{FAILED}
[Pipeline] }}
[Pipeline] stage
[Pipeline] {{ (Declarative: Post Actions)
No space left on device
ERROR: script returned exit code 1
Finished: FAILURE"""
BUILDKITE = f"""\
--- install
No space left on device
+++ test
{FAILED}
🚨 Error: The command exited with status 1
~~~ Running global pre-exit hook
No space left on device"""
AZURE = "\n".join(
    STAMP + line
    for line in [
        "##[section]Starting: Install",
        "No space left on device",
        "##[section]Finishing: Install",
        "##[section]Starting: Test",
        FAILED,
        "##[error]Bash exited with code '1'.",
        "##[section]Finishing: Test",
        "##[section]Starting: Publish",
        "No space left on device",
        "##[section]Finishing: Finalize Job",
    ]
)
TRAVIS = f"""\
travis_time:start:0a\r\x1b[0K$ npm ci
No space left on device
The command "npm ci" exited with 0.
travis_time:start:0b\r\x1b[0K$ pytest
{FAILED}
The command "pytest" exited with 1.
No space left on device
Done. Your build exited with 1."""


@pytest.mark.parametrize(
    "log",
    [GITLAB, JENKINS, BUILDKITE, AZURE, TRAVIS],
    ids=["gitlab", "jenkins", "buildkite", "azure", "travis"],
)
def test_only_the_step_that_failed_counts(log):
    signal = classify(log)
    assert signal.type is FailureType.TEST_ASSERT
    told = log.split("\n")[signal.evidence[0].line - 1]
    assert signal.evidence[0].text in told


@pytest.mark.parametrize(
    "log",
    [
        GITLAB.replace("ERROR: Job failed: exit code 1", "Job succeeded"),
        JENKINS.replace("FAILURE", "SUCCESS"),
        TRAVIS.replace("exited with 1", "exited with 0"),
    ],
    ids=["gitlab", "jenkins", "travis"],
)
def test_a_job_that_succeeded_is_unknown(log):
    assert classify(log).type is FailureType.UNKNOWN


def job(*lines: str, ended: bool = True) -> str:
    ending = ["Post job cleanup.", "Cleaning up orphan processes"] if ended else []
    said = ["##[group]Run ./x.sh", "shell: bash", "##[endgroup]", *lines, *ending]
    return "\n".join(STAMP + line for line in said)


def test_a_script_that_only_writes_an_errors_mark_went_on():
    assert classify(job("##[error]all good", NOISE)).type is FailureType.UNKNOWN
    exited = "##[error]Process completed with exit code 1."
    assert classify(job("##[error]all good", FAILED, exited)).type is FailureType.TEST_ASSERT
    first = job("##[error]API rate limit exceeded", ended=False)
    both = first + "\n" + job(FAILED, exited)
    assert classify(both).type is FailureType.TEST_ASSERT


def test_groups_without_end_are_read_to_the_end():
    log = "\n".join(f"{STAMP}##[group]Run {number}" for number in range(3000))
    failed = f"{log}\n{STAMP}##[endgroup]\n{STAMP}{FAILED}\n{STAMP}##[error]exit code 1"
    assert classify(log).type is FailureType.UNKNOWN
    assert classify(failed).type is FailureType.TEST_ASSERT


# --- streams ------------------------------------------------------------------------------------

PARTS = st.lists(
    st.sampled_from(
        [
            *GITLAB.splitlines(keepends=True),
            *AZURE.splitlines(keepends=True),
            *TRAVIS.splitlines(keepends=True),
            f"job\tstep\t{STAMP}##[group]Run x\n",
            f"job\tother\t{STAMP}{FAILED}\n",
            f"job\tother\t{STAMP}##[error]Process completed with exit code 1.\n",
            "\ufeff",
            "é\n",
            "\n",
            "x" * 3000,
        ]
    ),
    max_size=40,
).map("".join)


@given(PARTS, st.lists(st.integers(0, 6000), max_size=6))
@example("a\n" + "é" * 10, [3])
@settings(max_examples=150)
def test_the_cuts_of_a_stream_do_not_matter(log, cuts):
    raw = log.encode()
    at = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    chunks = [raw[begin:end] for begin, end in pairwise(at)]
    assert classify_all(iter(chunks)) == classify_all(raw) == classify_all(io.BytesIO(raw))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@given(cut=st.integers(0, 100))
@settings(max_examples=20)
def test_a_truncated_log_in_sixteen_bits_is_read(encoding, cut):
    raw = (FAILED + "\n").encode(encoding) * 2
    signal = classify(raw[: len(raw) - cut])
    assert signal.type in {FailureType.TEST_ASSERT, FailureType.UNKNOWN}
    assert cut > 50 or signal.type is FailureType.TEST_ASSERT


@given(st.binary(max_size=400), st.integers(0, 3))
@settings(max_examples=100)
def test_every_region_has_a_number_for_each_line(noise, marks):
    log = noise + b"\n##[group]Run x\n##[endgroup]\n##[error]exit code 1\n" * marks + noise
    for region in regions(log):
        assert len(region.lines) == len(region.numbers)
        assert list(region.numbers) == sorted(set(region.numbers))
        assert all(1 <= number <= log.count(b"\n") + 1 for number in region.numbers)


# --- limits -------------------------------------------------------------------------------------


def peak(log: Iterator[bytes]) -> tuple[int, Signal]:
    """Return how many bytes were held at most while *log* was classified, and the answer."""
    tracemalloc.start()
    signal = classify(log)
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, signal


def test_a_long_log_is_kept_at_both_ends_with_its_line_numbers():
    block = (b"x" * 1023 + b"\n") * 1024
    total = (HEAD + TAIL) // len(block) * 3
    _, signal = peak(iter([b"first\n", *[block] * total, FAILED.encode()]))
    assert signal.type is FailureType.TEST_ASSERT
    assert signal.evidence[0].line == total * 1024 + 2


@pytest.mark.parametrize(
    "block",
    [
        (b"x" * 1023 + b"\n") * 1024,
        b"a" * 1_000_000,
        b"\r" * 1_000_000,
        b"\xff\x00" * 500_000,
        b"\x1b]8;;" * 200_000,
        b"##[error]" * 100_000,
    ],
    ids=["lines", "line", "returns", "sixteen-bits", "escapes", "marks"],
)
def test_memory_has_a_bound_however_long_the_log(block):
    held, _ = peak(repeat(block, 10))
    held_longer, _ = peak(repeat(block, 30))
    assert held_longer <= 1.2 * held
    assert held_longer < 60 << 20


def test_of_many_failed_steps_the_first_and_the_named_are_kept():
    log = "".join(
        f"##[group]Run {number}\n##[endgroup]\n{FAILED}\n##[error]exit code 1\n"
        for number in range(50)
    )
    assert [region.step for region in regions(log)] == ["Run 0", "Run 1", "Run 2", "Run 3"]
    named = [region.step for region in regions(log, ["Run 42"])]
    assert named == ["Run 42", "Run 0", "Run 1", "Run 2"]


def test_a_flood_of_marks_is_output():
    flood = b"##[group]Run x\n##[endgroup]\n" * (MAX_MARKS // 2)
    rest = b"\n" * CHUNK + FAILED.encode() + b"\n##[error]Process completed with exit code 1."
    (region,) = regions(flood * 2 + rest)
    assert region.end is End.UNSAID
    assert FAILED.encode() in region.lines


def test_a_log_without_anything_is_one_empty_region():
    (region,) = regions(b"")
    assert region.end is End.UNSAID
    assert classify(iter(())).type is FailureType.UNKNOWN
