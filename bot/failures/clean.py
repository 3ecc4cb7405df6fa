# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""From the bytes that a CI service stored to the lines that the tools wrote.

Logs come in UTF-8, in UTF-16 (PowerShell), with byte order marks, in code pages; each line may carry
a job and a step (`gh run view --log`), a time stamp, colours, terminal hyperlinks, and progress
bars that overwrite themselves with carriage returns. Everything here is linear and never fails.
"""

import re

LINE_LIMIT = 4000
LINE_TAIL = 1000

# Each pattern begins with one sign, so that what lies between two of them is skipped quickly.
ESCAPE = re.compile(
    rb"\x1b(?:\][^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\)"  # terminal hyperlinks and titles
    rb"|\[[0-9;:?]{0,40}[A-Za-z]"  # colours and cursor moves
    rb"|[()][A-Z0-9]|[=>78cDEHM])?"
)
CARET_ESCAPE = re.compile(rb"\^\[\[[0-9;:?]{0,40}[A-Za-z]")  # the same in caret notation
STAMPS = (
    rb"(?:\xef\xbb\xbf)*(?:"
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?Z|[+-]\d\d:?\d\d)?(?: \d\d[OE](?:\+|(?=[ \n]|$)))?(?: |(?=\n|$))"  # and GitLab's stream
    rb"|\[(?:[a-z]{1,20} )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?Z?\] ?"
    rb"|\[\d\d:\d\d:\d\d(?:\.\d{1,6})?\]:? "
    rb")?"
    rb"(?:\d\d:\d\d:\d\d +(?:INFO|ERROR|WARNING|CRITICAL|FATAL|DEBUG) - +"  # mozharness
    rb"|#\d{1,4} (?:\d+\.\d+ )?"  # BuildKit
    rb"|\xf0\x9f\xa6\x8b +(?:error|info|warn) "  # changesets
    rb")?"
)
DATED = rb"\t(?=(?:\xef\xbb\xbf)?\d{4}-\d\d-\d\dT)"
CUT = rb"[^\t\n]{1,300}\t[^\t\n]{1,300}" + DATED
DRESS = re.compile(rb"\n" + STAMPS)
DRESS_AND_COLUMNS = re.compile(rb"\n(?:" + CUT + rb")?" + STAMPS)
COLUMNS = re.compile(CUT)
LAST_COLUMN = re.compile(DATED)


def has_columns(text: bytes) -> bool:
    """Return whether *text* may have lines of `gh run view --log`."""
    return LAST_COLUMN.search(text) is not None


def columns(line: bytes) -> bytes:
    """Return job and step of a line of `gh run view --log`, each with a tab, or nothing."""
    found = COLUMNS.match(line)
    return found[0] if found else b""


def cleaned(text: bytes) -> list[bytes]:
    """Return the lines of *text* as the tools wrote them: valid UTF-8, at most `LINE_LIMIT` long.

    No line is added or lost. What costs goes over the whole text at once, not line by line.
    """
    if b"\0" in text:
        text = text.replace(b"\0", b"")
    if b"\x1b" in text:
        text = ESCAPE.sub(b"", text)
    if b"^[[" in text:
        text = CARET_ESCAPE.sub(b"", text)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b"\r" in text:
        text = b"\n".join(
            _overwritten(line) if b"\r" in line else line for line in text.split(b"\n")
        )
    dress = DRESS_AND_COLUMNS if has_columns(text) else DRESS
    lines = list(map(bytes.rstrip, dress.split(b"\n" + _valid(text))))[1:]
    if max(map(len, lines)) > LINE_LIMIT:
        lines = list(map(_shortened, lines))
    return lines


def _valid(text: bytes) -> bytes:
    """Return *text* with signs that are no UTF-8 replaced."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode("utf-8")
    return text


def _overwritten(line: bytes) -> bytes:
    """Return what remained to be seen of a line that overwrote itself, with its stamp."""
    return next((part for part in reversed(line.split(b"\r")) if part.strip()), b"")


def _shortened(line: bytes) -> bytes:
    if len(line) <= LINE_LIMIT:
        return line
    kept = line[: LINE_LIMIT - LINE_TAIL] + b" [...] " + line[-LINE_TAIL:]
    return kept.decode("utf-8", "ignore").encode()
