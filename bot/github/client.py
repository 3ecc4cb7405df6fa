"""Requests about a repository, as its installation.

Every call takes the repository's token, renews it once when GitHub refuses it mid-way, and walks
all pages of a list. Reads are repeated a few times after `Flaky`. Writes are sent once: whoever
makes something looks for it before making it again (`attempts`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from bot.domain.errors import NeedsPerson
from bot.github.auth import Grant, Tokens
from bot.github.transport import Reply, Transport, Unauthorized, attempts

T = TypeVar("T")


class Client:
    """GitHub as seen by one installation per repository; paths are below `/repos/{repo}`."""

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self._transport = transport
        self._tokens = tokens

    def get(self, repo: str, path: str, kind: type[T], **parameters: Any) -> T:
        """Read one object."""
        return _repeated(lambda: self.send("GET", repo, path, parameters=parameters).read(kind))

    def raw(self, repo: str, path: str, accept: str, **parameters: Any) -> Reply:
        """Read something that is not JSON, or the headers of a redirect."""
        return _repeated(lambda: self.send("GET", repo, path, parameters=parameters, accept=accept))

    def pages(
        self, repo: str, path: str, kind: type[T], *, items: str = "", **parameters: Any
    ) -> Iterator[T]:
        """Yield all objects of a list, over all its pages; *items* names the field it stands in."""

        def page(number: int) -> Reply:
            return self.send(
                "GET", repo, path, parameters={**parameters, "per_page": 100, "page": number}
            )

        yield from walk(page, kind, items)

    def send(
        self,
        verb: str,
        repo: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        accept: str = "application/vnd.github+json",
    ) -> Reply:
        """Send one request, once; again only when the token was refused, since nothing was done."""

        def attempt(grant: Grant) -> Reply:
            return self._transport.send(
                verb,
                f"/repos/{repo}{path}",
                authorization=grant.authorization,
                lane=grant.installation,
                parameters=parameters,
                body=body,
                accept=accept,
            )

        grant = self._tokens.grant(repo)
        try:
            return attempt(grant)
        except Unauthorized:
            self._tokens.drop(repo, grant)
        try:
            return attempt(self._tokens.grant(repo))
        except Unauthorized as error:
            raise NeedsPerson(f"{error} (a renewed token, too)") from error


def _repeated(call: Callable[[], T]) -> T:
    return attempts()(call)


def walk(page: Callable[[int], Reply], kind: type[T], items: str = "") -> Iterator[T]:
    """Yield all objects of a list whose pages *page* fetches by number, from 1."""
    number, more = 1, True
    while more:
        found, more = _repeated(lambda: _page(page(number), kind, items))  # noqa: B023 - called at once
        yield from found
        number += 1


def _page(reply: Reply, kind: type[T], items: str) -> tuple[list[T], bool]:
    return reply.read_list(kind, items), 'rel="next"' in reply.headers.get("link", "")
