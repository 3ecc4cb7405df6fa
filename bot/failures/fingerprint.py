"""The same failure, the same key.

What changes from run to run is replaced before hashing: times, durations, paths of temporary and
workspace folders, line numbers, addresses, hashes, identifiers, counts of seconds; and lines are
taken as a sorted set, so that the order of tests does not count.
"""

import hashlib
import re
from collections.abc import Iterable

from bot.domain.values import Signal

LENGTH = 16
MAX_LINES = 120  # of many, the first in an order that does not depend on where they stood
DIGITS = {ord(digit): None for digit in "0123456789"}

NOISE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?: ?Z|[+-]\d\d:?\d\d)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?\b"), "<time>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (
        re.compile(
            r"\b\d{1,12}(?:\.\d{1,12})? ?(?:ms|µs|us|ns|s|sec|secs|seconds?|minutes?|mins?|m|h)\b"
        ),
        "<duration>",
    ),
    (re.compile(r"\b0x[0-9a-fA-F]{1,32}\b"), "<address>"),
    (re.compile(r"pytest-of-\w{1,40}/pytest-\d{1,9}"), "<tmp>"),
    (
        re.compile(
            r"(?:/private)?(?:/var/folders/[\w+]{1,40}/[\w+]{1,80}/T|/tmp|/var/tmp|/dev/shm)(?:/[\w.@+-]{1,200})?"
            r"|[A-Za-z]:\\[\w\\ .~-]{0,120}\\Temp(?:\\[\w.@+-]{1,200})?"
        ),
        "<tmp>",
    ),
    (
        re.compile(
            r"(?:/home/runner/work|/Users/runner/work|/__w|[A-Z]:\\a)[/\\][\w.-]{1,100}[/\\][\w.-]{1,100}[/\\]"
        ),
        "",
    ),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b"), "<address>"),
    (re.compile(r"\b(?:localhost|127\.0\.0\.1):\d{1,5}\b"), "<address>"),
    (
        re.compile(r"(?<=\.[A-Za-z])(?::\d{1,9}){1,2}|(?<=\w):\d{1,9}(?::\d{1,9})?(?=[:)\s,]|$)"),
        ":<line>",
    ),
    (re.compile(r"\((\d{1,9}),\s?(\d{1,9})\)(?=:)"), "(<line>)"),
    (re.compile(r"\bline \d{1,9}\b"), "line <line>"),
    (re.compile(r"\b(?=[a-f]{0,40}\d)[0-9a-f]{7,64}\b"), "<hash>"),
    (re.compile(r"\b(?:pid|PID|process|thread|run|job|attempt|gw)[ =#:]?\d{1,12}\b"), "<number>"),
    (re.compile(r"\d{6,20}"), "<number>"),
)


CHANGING = re.compile(
    r"\d|/tmp|/T/|Temp|/work/|\ba\\|/__w"
)  # a line without is the same in each run


def normal(line: str) -> str:
    """Return *line* without what changes from run to run."""
    line = line[:2000]
    if not CHANGING.search(line):
        return " ".join(line.split())
    for pattern, word in NOISE:
        line = pattern.sub(word, line)
    return " ".join(line.split())


def key(*parts: str) -> str:
    """Return a short key for *parts*."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:LENGTH]


def of_lines(lines: Iterable[str], *context: str) -> str:
    """Return the key of a failure that these lines tell of, in any order, in this context."""
    told = sorted(set(lines), key=lambda line: (line.translate(DIGITS), line))[:MAX_LINES]
    kept = sorted({normal(line) for line in told} - {""})
    return key(*context, *kept)


def fingerprint(subject: Signal | str) -> str:
    """Return the key of a signal or of any text; equal for the same failure seen again."""
    if isinstance(subject, str):
        return of_lines(subject.splitlines()[:20000])
    if subject.fingerprint:
        return subject.fingerprint
    lines = [evidence.text for evidence in subject.evidence] or [subject.message]
    return of_lines(lines, subject.type, subject.tool)
