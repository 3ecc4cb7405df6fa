# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""From the bytes that a CI service stored to the lines that the tools wrote.

Logs come in UTF-8, in UTF-16 (PowerShell), with byte order marks, in code pages; each line may carry
a job and a step (`gh run view --log`), a time stamp, colours, terminal hyperlinks, and progress
bars that overwrite themselves with carriage returns. Everything here is linear and never fails.
"""

import codecs
import re

LIMIT = 32 << 20  # bytes; of a longer log the beginning and, mostly, the end are kept
HEAD = 4 << 20
LINE_LIMIT = 4000

ESCAPE = re.compile(
    rb"\x1b\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)"  # terminal hyperlinks and titles
    rb"|(?:\x1b|\^\[)\[[0-9;:?]{0,40}[A-Za-z]"  # colours and cursor moves, also as caret notation
    rb"|\x1b[()][A-Z0-9]|\x1b[=>78cDEHM]|\x1b"
)
STAMP = re.compile(
    rb"(?:\xef\xbb\xbf)*(?:"
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?Z|[+-]\d\d:?\d\d)?(?: |$)"
    rb"|\[(?:[a-z]{1,20} )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?Z?\] ?"
    rb"|\[\d\d:\d\d:\d\d(?:\.\d{1,6})?\]:? "
    rb")?"
)
SUBSTAMP = re.compile(
    rb"\d\d:\d\d:\d\d +(?:INFO|ERROR|WARNING|CRITICAL|FATAL|DEBUG) - +"  # mozharness
    rb"|#\d{1,4} (?:\d+\.\d+ )?"  # BuildKit
    rb"|\xf0\x9f\xa6\x8b +(?:error|info|warn) "  # changesets
)
COLUMNS = re.compile(rb"([^\t]{1,300})\t([^\t]{1,300})\t(?=(?:\xef\xbb\xbf)?\d{4}-\d\d-\d\dT)")


def decoded(log: bytes | str) -> bytes:
    """Return *log* as valid UTF-8 without byte order mark, at most `LIMIT` bytes of it."""
    raw = log.encode("utf-8", "replace") if isinstance(log, str) else bytes(log)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw = raw[: 2 * LIMIT].decode("utf-16", "replace").encode("utf-8", "replace")
    elif raw[:400].count(b"\0") > len(raw[:400]) // 4:
        raw = raw[: 2 * LIMIT].decode("utf-16-le", "replace").encode("utf-8", "replace")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if len(raw) > LIMIT:
        raw = raw[:HEAD] + b"\n[...]\n" + raw[-(LIMIT - HEAD) :]
    return raw.decode("utf-8", "replace").encode("utf-8", "replace").replace(b"\0", b"")


def columns(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return job, step and rest of a line of `gh run view --log`, or None when it is not one."""
    found = COLUMNS.match(line)
    return (found[1], found[2], line[found.end() :]) if found else None


def clean(line: bytes) -> bytes:
    """Return one line as the tool wrote it, without time stamp, colours and overwritten text."""
    if len(line) > LINE_LIMIT:
        line = line[: LINE_LIMIT - 1000] + b" [...] " + line[-1000:]
    if b"\x1b" in line or b"^[" in line:
        line = ESCAPE.sub(b"", line)
    line = line.rstrip(b"\r\n\t ")
    if b"\r" in line:
        line = next((part for part in reversed(line.split(b"\r")) if part.strip()), b"")
    stamp = STAMP.match(line)
    if stamp:
        line = line[stamp.end() :]
    inner = SUBSTAMP.match(line)
    return line[inner.end() :] if inner else line
