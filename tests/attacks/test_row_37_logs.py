"""Row 37: a log that is endless, packed, or full of signs that rewrite what a person sees.

Controls: `bot/github/logs.py` stops reading, and keeps a beginning and an end; nothing is ever
unpacked but what the transfer itself packed, bounded alike; `bot/failures/clean.py` takes colours
and control signs away. Off (no cap; the signs are left), all of it is kept, and shown.
"""

import gzip
import io
import re
import zipfile
from collections.abc import Iterator

import httpx
import psutil
import pytest

from bot.domain.values import FailureType
from bot.failures import clean
from bot.failures.classify import classify
from bot.github import logs
from bot.github.logs import CAP_BYTES, DOWNLOAD_BYTES, HEAD_BYTES, capped
from tests.support.controls import switched_off
from tests.support.model_api import model_api, reply, says

MB = 2**20
HIDDEN = "\x1b[2K\x1b[1A\x1b]0;owned\x07\x1b[8m"
LOG = f"{HIDDEN}src/a.py:1:1: F401 `os` imported but unused{HIDDEN}\n".encode()


class Endless:
    """Two gigabytes of log, a megabyte at a time; `given` counts."""

    def __init__(self, megabytes: int = 2048) -> None:
        self.left = megabytes
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        piece = b"x" * MB
        while self.left:
            self.left -= 1
            self.given += MB
            yield piece


def test_of_two_gigabytes_the_ends_are_kept_and_half_is_never_read():
    log, process = Endless(), psutil.Process()
    before = process.memory_info().rss
    kept = capped(log)
    assert CAP_BYTES < len(kept) < CAP_BYTES + 100
    assert log.given == DOWNLOAD_BYTES
    assert process.memory_info().rss - before < 8 * CAP_BYTES


def test_without_the_cap_all_would_be_kept():
    assert len(capped(Endless(100), HEAD_BYTES, 2**40)) == 100 * MB


def test_what_the_transfer_packed_is_no_larger(monkeypatch):
    packed = gzip.compress(bytes(200 * MB), compresslevel=1)
    process = psutil.Process()
    with (
        model_api(says(reply(200, packed, content_encoding="gzip"))) as host,
        httpx.Client() as web,
    ):
        before = process.memory_info().rss
        kept = logs.Logs(None, host.url, web)._download(host.url)  # type: ignore[arg-type]
        grown = process.memory_info().rss - before
    assert kept is not None
    assert len(kept) < CAP_BYTES + 100
    assert grown < 200 * MB


def test_an_archive_within_an_archive_is_only_bytes():
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.txt", b"E   AssertionError\n" * 100_000)
    assert classify(inner.getvalue().decode("latin-1")).type is FailureType.UNKNOWN


def shown(log: bytes) -> str:
    return "\n".join(line.decode() for line in clean.cleaned(log))


def test_signs_that_rewrite_the_screen_are_gone():
    assert shown(LOG).strip() == "src/a.py:1:1: F401 `os` imported but unused"


def test_without_cleaning_they_would_be_shown():
    with switched_off(clean, "ESCAPE", re.compile(b"(?!)")):
        assert HIDDEN in shown(LOG)


@pytest.mark.parametrize("junk", [b"\x1b[" * 200_000, b"\x1b]" * 200_000, b"\r" * 400_000])
def test_nothing_but_signs_is_nothing(junk):
    assert len(shown(junk)) <= clean.LINE_LIMIT + clean.LINE_TAIL + 100
