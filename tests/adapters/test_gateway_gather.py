"""Small chunks of a reply become large ones, and nothing else about it changes."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.gateway.gather import Chunks

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nTransfer-Encoding: chunked\r\nx: y\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n5\r\nhello0\r\n\r\n"


def framed(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts) + end


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at) if start < end]


def understood(parts: list[bytes]) -> list[object]:
    """What the library makes of a reply: its events, with neighbouring data joined."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    found: list[object] = []
    for part in [*parts, b""]:
        client.receive_data(part)
        try:
            while not isinstance(event := client.next_event(), type):  # more data, or a pause
                if isinstance(event, h11.ConnectionClosed):
                    return found
                data = bytes(event.data) if isinstance(event, h11.Data) else None
                if data is not None and found and isinstance(found[-1], bytes):
                    found[-1] += data
                else:
                    found.append(repr(event) if data is None else data)
        except h11.RemoteProtocolError:
            return [*found, "broken"]
    return found


REPLIES = st.one_of(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8).map(
        lambda parts: HEAD + framed(*parts)
    ),
    st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(
        lambda parts: HEAD + framed(*parts, end=b"0\r\nx: trailer\r\n\r\n")
    ),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(
        lambda parts: HEAD + framed(*parts, end=b"3;ext=1\r\nabc\r\n0\r\n\r\n")
    ),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(
        lambda parts: HEAD + framed(*parts, end=b"")
    ),
    st.binary(max_size=60).map(lambda noise: HEAD + framed(b"some", end=b"x" + noise)),
    st.binary(max_size=60).map(lambda noise: HEAD + noise),
    st.just(HEAD + framed(b"some")[:-7] + b"cd\r\n0\r\n\r\n"),
    st.just(PLAIN),
    st.just(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + HEAD + framed(b"late")),
    st.just(HEAD.replace(b"200 OK", b"500 No") + framed(b"error")),
    st.binary(max_size=60),
)


@given(reply=REPLIES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_a_reply_means_the_same_however_it_is_cut(reply: bytes, cuts: list[int]):
    chunks = Chunks()
    gathered = [chunks.joined(part) for part in pieces(reply, cuts)]
    assert understood([part for part in gathered if part]) == understood([reply])


@pytest.mark.parametrize("size", [1, 7, 300])
def test_what_is_here_goes_on_at_once_and_as_one(size: int):
    chunks, parts = Chunks(), [b"x" * size] * 50
    assert chunks.joined(HEAD) == HEAD
    assert chunks.joined(framed(*parts, end=b"")) == framed(b"".join(parts), end=b"").lower()
    assert chunks.joined(b"a\r\nhal") == b"3\r\nhal\r\n", "half a chunk is not waited for"
    assert chunks.joined(b"f a chunk"[:2]) == b"2\r\nf \r\n"


def test_an_endless_head_is_not_kept():
    chunks = Chunks()
    for _ in range(10):
        assert chunks.joined(b"x" * 100_000) == b"x" * 100_000
    assert chunks.joined(framed(b"a", b"b")) == framed(b"a", b"b")
