"""One request to GitHub: the pace of writes, and every error translated.

PyGithub carries the request (connections, headers, API version, the second between writes), but
never repeats it: its own retry would repeat POST after 5xx and time-outs, and would sleep through
rate limits in our thread. Its objects are not used either: they fetch what is missing with further
requests, cannot say null where GitHub does, and took an HTML page for data. So replies are decoded
here, into the shapes of `wire`.

`Flaky` marks the failures after which nobody knows whether the request was carried out (5xx, cut
connections, time-outs, a page instead of JSON); a read may be repeated after it, a write only when
what it makes was looked for and not found. A rate limit is a plain `TryLater`: nothing was done.
"""

import email.utils
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import tenacity
from github import Github
from github.Requester import Requester

from bot.domain.errors import BotError, Broken, Gone, NeedsPerson, TryLater
from bot.domain.ports import Clock
from bot.github.wire import Problem

TRIES = 3
API_VERSION = "2022-11-28"
TIMEOUT_S = 30
RATE_LIMIT_WAIT_S = 60.0  # what GitHub asks for when it names no time
FLAKY_WAIT_S = 30.0

_log = logging.getLogger(__name__)

PERMISSIONS = (  # what a path needs, for GitHub's answers that do not say
    (re.compile(r"/check-(runs|suites)"), "checks"),
    (re.compile(r"/actions/"), "actions"),
    (re.compile(r"/statuse?s?(/|$)"), "statuses"),
    (re.compile(r"/issues/"), "issues or pull_requests"),
    (re.compile(r"/pulls(/|$)"), "pull_requests"),
    (re.compile(r"/contents/"), "contents"),
)

T = TypeVar("T")


class Flaky(TryLater):
    """The request may or may not have been carried out."""


class Unauthorized(BotError):
    """GitHub refused the token; `date` is its own time, when it said it."""

    def __init__(self, message: str, date: datetime | None) -> None:
        super().__init__(message)
        self.date = date


@dataclass(frozen=True, slots=True)
class Reply:
    """GitHub's answer below 400; header names are in lower case."""

    what: str
    status: int
    headers: Mapping[str, str]
    text: str

    def read(self, kind: type[T]) -> T:
        """Decode the body; a page instead of JSON is a passing fault, another shape is not."""
        if "json" not in self.headers.get("content-type", ""):
            raise Flaky(f"GitHub answered {self.what} with a page, not with JSON", FLAKY_WAIT_S)
        return _decoded(self.what, self.text, kind)

    def read_list(self, kind: type[T], field: str = "") -> list[T]:
        """Decode a list that is the body, or stands in one *field* of it."""
        listed = list[kind]  # type: ignore[valid-type]  # a type made at run time
        if not field:
            return self.read(listed)
        fields = self.read(dict[str, msgspec.Raw])
        return _decoded(self.what, fields.get(field, msgspec.Raw(b"null")), listed)


class Transport:
    """Sends single requests; one lane of writes for each installation.

    A lane is a PyGithub connection whose writes wait for each other and keep their distance.
    """

    def __init__(self, url: str, clock: Clock, seconds_between_writes: float) -> None:
        self.url = url.rstrip("/")
        self._clock = clock
        self._pause_s = seconds_between_writes
        self._lanes: dict[int, tuple[Requester, threading.Lock]] = {}
        self._guard = threading.Lock()
        # At DEBUG PyGithub logs whole requests and replies: our tokens travel in both.
        logging.getLogger("github.Requester").setLevel(logging.INFO)

    def send(
        self,
        verb: str,
        path: str,
        *,
        authorization: str,
        lane: int = 0,
        parameters: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/vnd.github+json",
    ) -> Reply:
        """Send one request, once."""
        requester, writing = self._lane(lane)
        what = f"{verb} {path}"
        headers = {"Authorization": authorization, "Accept": accept}
        with _connection_errors(what), writing if verb != "GET" else _unhindered():
            status, answered, text = requester.requestJson(
                verb, path, dict(parameters or {}), headers, body
            )
        reply = Reply(what, status, answered, text)
        if status >= 400:  # noqa: PLR2004 - the first HTTP error
            raise translated(reply, self._clock.now())
        return reply

    def close(self) -> None:
        """Close every connection."""
        with self._guard:
            for requester, _ in self._lanes.values():
                requester.close()
            self._lanes.clear()

    def _lane(self, lane: int) -> tuple[Requester, threading.Lock]:
        with self._guard:
            if lane not in self._lanes:
                self._lanes[lane] = (self._connection().requester, threading.Lock())
            return self._lanes[lane]

    def _connection(self) -> Github:
        return Github(
            base_url=self.url,
            timeout=TIMEOUT_S,
            user_agent="regreen",
            per_page=100,
            retry=None,
            pool_size=32,
            seconds_between_requests=0,
            seconds_between_writes=self._pause_s,
            api_version=API_VERSION,
        )


def _decoded(what: str, body: str | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Broken(f"GitHub's answer to {what} has another shape: {error}") from error
    except msgspec.DecodeError as error:
        raise Flaky(f"GitHub's answer to {what} was cut", FLAKY_WAIT_S) from error


@contextmanager
def _unhindered() -> Iterator[None]:
    yield


@contextmanager
def _connection_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # every error of the connection below PyGithub is one
        raise Flaky(f"no answer to {what}: {type(error).__name__}", FLAKY_WAIT_S) from error
    except RuntimeError as error:  # PyGithub's word for a redirect to another server
        raise NeedsPerson(f"{what}: {error}; check REGREEN_GITHUB_URL") from error


def translated(reply: Reply, now: datetime) -> BotError:
    """Return the exception that says what to do about an error answer."""
    said = _problem(reply)
    sentence = f"GitHub answered {reply.what} with {reply.status}: {said or 'no message'}"
    match reply.status:
        case status if status == 429 or (status == 403 and _limited(reply, said)):  # noqa: PLR2004
            return TryLater(sentence, _wait_s(reply.headers, now))
        case 401:
            return Unauthorized(sentence, server_date(reply.headers))
        case 403 if "suspended" in said:
            return Gone(f"the App's installation is suspended: {sentence}")
        case 403:
            return NeedsPerson(f"{sentence} (it needs the permission {_permission(reply)})")
        case 404 | 410:
            return Gone(sentence)
        case 422 if said.startswith("No commit found"):
            return Gone(sentence)
        case status if status >= 500:  # noqa: PLR2004
            return Flaky(sentence, _retry_after_s(reply.headers) or FLAKY_WAIT_S)
        case _:
            return Broken(sentence)


def server_date(headers: Mapping[str, str]) -> datetime | None:
    """Return the time that the server's `Date` header tells, if it does."""
    try:
        return email.utils.parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return None


def _problem(reply: Reply) -> str:
    try:
        problem = msgspec.json.decode(reply.text, type=Problem)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""
    details = "; ".join(_detail(error) for error in problem.errors)
    return f"{problem.message} ({details})" if details else problem.message


def _detail(error: Any) -> str:
    """Return one entry of `errors`: a sentence, or an object with field and code."""
    if not isinstance(error, dict):
        return str(error)
    return str(error.get("message") or f"{error.get('field')} {error.get('code')}")


def _limited(reply: Reply, said: str) -> bool:
    """Return whether a 403 is a limit in disguise; a page instead of JSON is an abuse filter."""
    return (
        "retry-after" in reply.headers
        or reply.headers.get("x-ratelimit-remaining") == "0"
        or Requester.isRateLimitError(said)
        or not said
    )


def _wait_s(headers: Mapping[str, str], now: datetime) -> float:
    """Return how long a limit asks us to wait: Retry-After, else the reset, else a minute."""
    if after := _retry_after_s(headers):
        return after
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        server_now = server_date(headers) or now
        return max(int(reset) - server_now.timestamp(), 1.0)
    return RATE_LIMIT_WAIT_S


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    after = headers.get("retry-after", "")
    return float(after) if after.isdigit() else None


def _permission(reply: Reply) -> str:
    """Return the permission that was missing: GitHub's own word, else our table's."""
    if accepted := reply.headers.get("x-accepted-github-permissions"):
        return accepted
    return next((name for path, name in PERMISSIONS if path.search(reply.what)), "metadata")


def attempts() -> tenacity.Retrying:
    """Return the loop for a call that may be repeated after `Flaky`: three tries, short waits.

    For a write, each try must begin by looking whether an earlier one arrived after all.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Flaky),
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=2),
        before_sleep=tenacity.before_sleep_log(_log, logging.WARNING),
        reraise=True,
    )
