"""Logs of Actions jobs.

GitHub answers with a link to another host that lives one minute. It is followed at once, without
our token, and only to hosts that GitHub keeps logs on; anything else could point into the network
we run in. What comes is a stream of any size: the beginning and the end are kept, the middle is
not, so memory stays bounded.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

import httpx

from bot.domain.errors import Broken, Gone
from bot.github.client import Client
from bot.github.transport import FLAKY_WAIT_S, Flaky, attempts

GITHUB_LOG_HOSTS = ("actions.githubusercontent.com", "blob.core.windows.net")
HEAD_BYTES = 4 * 1024**2
CAP_BYTES = 32 * 1024**2
DOWNLOAD_BYTES = 1024**3  # reading stops here, whatever follows
CHUNK_BYTES = 64 * 1024
EXPIRED = (403, 404, 410)


class Logs:
    """Downloads job logs; *hosts* are domains that may serve them besides GitHub's own."""

    def __init__(
        self, client: Client, url: str, http: httpx.Client, hosts: Sequence[str] = ()
    ) -> None:
        self._client = client
        self._url = url
        self._http = http
        self._hosts = hosts

    def of_job(self, repo: str, job: int) -> bytes:
        """Return a job's log, at most 32 MB of it: the head, a note, the tail."""
        for attempt in attempts():
            with attempt:
                log = self._download(self._link(repo, job))
                if log is None:  # the link's minute was over: once more with a new one
                    log = self._download(self._link(repo, job))
                if log is None:
                    raise Gone(f"the log of job {job} in {repo} is no longer kept")
                return log
        raise AssertionError("tenacity re-raises the last failure")

    def _link(self, repo: str, job: int) -> str:
        reply = self._client.raw(repo, f"/actions/jobs/{job}/logs", "application/vnd.github+json")
        location = reply.headers.get("location", "")
        if not location:
            raise Broken(f"GitHub answered {reply.what} with {reply.status} and no link")
        if not is_log_link(location, self._url, self._hosts):
            host = urlsplit(location).hostname
            raise Broken(f"the log of job {job} was refused: {host} is not a log host of GitHub")
        return location

    def _download(self, link: str) -> bytes | None:
        """Return the log behind a link, None when the link has expired."""
        headers = {"Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", link, headers=headers) as answer:
                if answer.status_code in EXPIRED:
                    return None
                if answer.is_server_error:
                    raise Flaky(f"the log's host answered {answer.status_code}", FLAKY_WAIT_S)
                if not answer.is_success:
                    raise Broken(f"the log's host answered {answer.status_code}")
                return capped(answer.iter_bytes(CHUNK_BYTES))
        except httpx.TransportError as error:
            raise Flaky(f"the log was cut: {type(error).__name__}", FLAKY_WAIT_S) from error


def is_log_link(link: str, url: str, hosts: Sequence[str] = ()) -> bool:
    """Tell whether *link* leads to a place where the GitHub at *url* keeps logs, or to *hosts*."""
    to, base = urlsplit(link), urlsplit(url)
    if _is_loopback(base):  # there, another port is another program
        return (to.scheme, to.netloc) == (base.scheme, base.netloc)
    host = to.hostname or ""
    if to.scheme != base.scheme or to.username is not None:
        return False
    known = (base.hostname or "", *_default_hosts(base), *hosts)
    return any(host == name or host.endswith(f".{name}") for name in known)


def capped(
    chunks: Iterable[bytes], head_bytes: int = HEAD_BYTES, cap_bytes: int = CAP_BYTES
) -> bytes:
    """Return the joined chunks, without their middle when they are longer than the cap."""
    head, tail, read = bytearray(), bytearray(), 0
    for chunk in chunks:
        room = head_bytes - len(head)
        head += chunk[:room]
        tail += chunk[room:]
        del tail[: max(len(tail) - (cap_bytes - head_bytes), 0)]
        read += len(chunk)
        if read >= DOWNLOAD_BYTES:
            break
    left_out = read - len(head) - len(tail)
    note = f"\n… {left_out} bytes of the log are left out here …\n".encode() if left_out else b""
    return bytes(head + note + tail)


def _default_hosts(base: SplitResult) -> tuple[str, ...]:
    host = base.hostname or ""
    hosted = host == "api.github.com" or host.endswith(".ghe.com")
    return GITHUB_LOG_HOSTS if hosted else ()


def _is_loopback(base: SplitResult) -> bool:
    host = base.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
