"""Row 5: a body that is too large, announced or in pieces, or that never ends.

Control: `MAX_BODY_BYTES`, counted while the body streams in, and a deadline for all of it. Off (a
larger cap, a longer deadline), the whole body is read.
"""

from collections.abc import Sequence

import psutil

from bot.web import webhooks
from tests.support.controls import switched_off
from tests.support.intake import Server, Store, running, server, status_of, store

__all__ = ["server", "store"]

JSON = "Content-Type: application/json"
FORGED = "X-Hub-Signature-256: sha256=00"
HUNDRED: Sequence[str] = (JSON, "Content-Length: 100", FORGED)


def sent_in_pieces(server: Server, megabytes: int) -> int:
    connection = server.open([JSON, "Transfer-Encoding: chunked", FORGED])
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(megabytes * 16):
        connection.sendall(piece)
    connection.sendall(b"0\r\n\r\n")
    return status_of(connection)


def test_an_announced_26_mb_is_413_at_once(server: Server):
    assert status_of(server.open([JSON, f"Content-Length: {26 * 2**20}"])) == 413


def test_26_mb_in_pieces_is_413_without_buffering_more(server: Server):
    process = psutil.Process()
    before = process.memory_info().rss
    assert sent_in_pieces(server, 26) == 413
    assert process.memory_info().rss - before < 30 * 2**20
    assert server.post().status == 202


def test_without_the_cap_it_would_be_read_whole(server: Server):
    with switched_off(webhooks, "MAX_BODY_BYTES", 2**30):
        assert sent_in_pieces(server, 26) == 401  # all of it was read, for its signature


def test_a_slow_body_is_408_and_without_the_deadline_it_would_be_waited_for(server: Server):
    patient = server.open(HUNDRED)
    patient.sendall(b"{")
    with running(Store(), read_deadline_s=0.2) as strict:
        slow = strict.open(HUNDRED)
        slow.sendall(b"{")
        assert status_of(slow) == 408
    patient.sendall(b" " * 99)
    assert status_of(patient) == 401  # all of it was read, for its signature
