"""Files, people and git access of repositories."""

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bot.domain.errors import Broken, Gone
from bot.domain.values import Remote, Sha
from bot.github import wire
from bot.github.auth import FETCH, PUSH, Tokens
from bot.github.client import Client, walk
from bot.github.transport import Reply, Transport

RAW = "application/vnd.github.raw+json"
_FILE_OR_FOLDER: Any = wire.Content | list[Any]  # msgspec takes unions, type checkers do not


class GitHubRepos:
    """The port `Repos`."""

    def __init__(self, client: Client, tokens: Tokens, transport: Transport) -> None:
        self._client = client
        self._tokens = tokens
        self._transport = transport

    def file(self, repo: str, path: str, ref: str) -> str | None:
        """Return a file's text at *ref*, None when there is no such file."""
        where = f"/contents/{quote(path)}"
        try:
            content = self._client.get(repo, where, _FILE_OR_FOLDER, ref=ref)
            if isinstance(content, list) or content.type != "file":
                return None
            if content.encoding == "base64":
                return base64.b64decode(content.content).decode(errors="replace")
            # Over 1 MB the object comes without its content, which is then asked for by itself.
            return self._client.raw(repo, where, RAW, ref=ref).text
        except Gone:
            return None

    def permission(self, repo: str, login: str) -> str:
        """Return admin, write, read or none; GitHub refuses to answer for some bots: none."""
        path = f"/collaborators/{quote(login, safe='')}/permission"
        try:
            return self._client.get(repo, path, wire.Permission).permission
        except Gone:
            return "none"
        except Broken as error:
            if "is not a user" in str(error):
                return "none"
            raise

    def tip(self, repo: str, branch: str) -> Sha:
        """Return the commit that a branch is at; raise Gone when there is no such branch."""
        path = f"/git/ref/heads/{quote(branch)}"
        return Sha(self._client.get(repo, path, wire.Ref).object.sha)

    def remote(self, repo: str, *, write: bool) -> Remote:
        """Return where git finds the repository, with a token minted for this one use."""
        url = self._client.get(repo, "", wire.Repository).clone_url
        grant = self._tokens.fresh(repo, PUSH if write else FETCH)
        return Remote(url, grant.token.reveal())

    def installed(self) -> Sequence[str]:
        """Return every repository of every installation; suspended and archived ones are not."""

        def page(number: int) -> Reply:
            return self._tokens.app(
                "GET", "/app/installations", parameters={"per_page": 100, "page": number}
            )

        active = [i.id for i in walk(page, wire.Installation) if i.suspended_at is None]
        return [name for installation in active for name in self._of(installation)]

    def _of(self, installation: int) -> Sequence[str]:
        try:
            authorization = self._tokens.listing(installation).authorization
        except Gone:  # removed or suspended since it was listed
            return []

        def page(number: int) -> Reply:
            return self._transport.send(
                "GET",
                "/installation/repositories",
                authorization=authorization,
                lane=installation,
                parameters={"per_page": 100, "page": number},
            )

        return [r.full_name for r in walk(page, wire.Repository, "repositories") if not r.archived]
