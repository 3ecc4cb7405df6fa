"""Joins the many small chunks of a streamed reply before the HTTP library sees them.

A vendor sends each event as a chunk of its own, and the library's parser, in Python, takes longer
over one of them than a bare connection over a hundred. So what arrived at one time becomes one
chunk. Nothing waits for more: what is here goes on at once. A reply whose length is told
otherwise, and whatever does not look like chunks, goes through as it is, for the library to judge.
The framing: https://www.rfc-editor.org/rfc/rfc9112#section-7.1
"""

import re
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

_HEAD_END = b"\r\n\r\n"
_MOST_HEAD = 256 * 1024
_CHUNKED = re.compile(
    rb"HTTP/1\.1 200 [^\r\n]*(?:\r\n[^\r\n]+)*\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n",
    re.IGNORECASE,
)
_LINE = b"\r\n"
_NONSENSE = b"?"  # where a size has to stand, so that the library sees that nothing fits here
# A chunk's size. What ends the chunk before it stands in front, so that both are one match.
_FIRST = re.compile(rb"([0-9a-f]{1,8})[ \t]*\r\n", re.IGNORECASE)
_NEXT = re.compile(rb"\r\n([0-9a-f]{1,8})[ \t]*\r\n", re.IGNORECASE)
_BEGUN = re.compile(rb"\r?\n?[0-9a-f]{0,8}[ \t]{0,8}\r?", re.IGNORECASE)


class Chunks:
    """The bytes of one reply, with neighbouring chunks joined."""

    def __init__(self) -> None:
        self._head = b""  # as far as it is known; passed on already
        self._in_head = True
        self._as_it_is = False
        self._size = _FIRST
        self._left = 0  # bytes of the chunk under way that are still to come
        self._rest = b""  # of a line that is not whole yet

    def joined(self, data: bytes) -> bytes:
        """Take in what came next and return what goes on, b"" when nothing does yet."""
        if self._as_it_is:
            return data
        if not self._in_head:
            return self._content(self._rest + data)
        before = len(self._head)
        self._head += data
        end = self._head.find(_HEAD_END, max(0, before - len(_HEAD_END)))
        if end < 0:
            self._as_it_is = len(self._head) > _MOST_HEAD
            return data
        self._in_head = False
        if not _CHUNKED.match(self._head, 0, end + len(_LINE)):
            self._as_it_is = True
            return data
        end += len(_HEAD_END) - before
        return data[:end] + self._content(data[end:])

    def _content(self, data: bytes) -> bytes:
        """Return the contents of the chunks in *data* as one chunk."""
        at, parts, self._rest = 0, [], b""
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif (size := self._size.match(data, at)) and (length := int(size[1], 16)):
                self._left = length
                self._size = _NEXT
                at = size.end()
            else:
                return self._other(parts, data[at:])
        return _chunk(parts)

    def _other(self, parts: list[bytes], rest: bytes) -> bytes:
        """Return the contents so far, and *rest* if it cannot become a chunk: mostly the end."""
        if _BEGUN.fullmatch(rest):
            self._rest = rest
            return _chunk(parts)
        self._as_it_is = True
        if self._size is _NEXT:  # its line's end stands behind the chunk that was made
            rest = rest.removeprefix(_LINE) if rest.startswith(_LINE) else _NONSENSE + rest
        return _chunk(parts) + rest


class Gathering(httpcore.AsyncNetworkBackend):
    """A network whose connections join the chunks that they receive."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, as the library asks for it."""
        return _Stream(
            await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._chunks = Chunks()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        while data := await self._inner.read(max_bytes, timeout):
            if joined := self._chunks.joined(data):
                return joined
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._chunks = Chunks()  # what is read after a request is its reply
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _chunk(parts: list[bytes]) -> bytes:
    content = b"".join(parts)
    return b"%x\r\n%b\r\n" % (len(content), content) if content else b""
