"""Who we are: the App's JWT, and installation tokens.

The App signs a JWT with its key (issued a minute ago, valid for five); with that it mints a token
for one installation, one repository and the fewest permissions, which lives an hour.
Tokens are renewed while five minutes are left. A token to push with is never kept: it is minted
right before the push.

GitHub judges our JWT by its own clock. When it refuses one, its `Date` header tells how far ours is
off, and the next JWT is signed by GitHub's time. Nothing assumes how long a token is.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.domain.errors import Broken, Gone, NeedsPerson
from bot.domain.ports import Clock
from bot.domain.values import Secret
from bot.github import wire
from bot.github.transport import Reply, Transport, Unauthorized, attempts

JWT_BEFORE = timedelta(seconds=60)
JWT_LIFE = timedelta(seconds=300)
RENEW_BEFORE = timedelta(minutes=5)

T = TypeVar("T")


Permissions = Mapping[str, str]

WORK: Permissions = {
    "actions": "write",
    "checks": "write",
    "contents": "read",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
FETCH: Permissions = {"contents": "read", "metadata": "read"}
PUSH: Permissions = {"contents": "write", "metadata": "read"}
LIST: Permissions = {"metadata": "read"}

EVENTS = (  # `ping`, `installation` and `installation_repositories` come without asking
    "check_run",
    "check_suite",
    "issue_comment",
    "pull_request",
    "status",
    "workflow_run",
)


def required_permissions() -> dict[str, str]:
    """Return the permissions that the App needs in all: the strongest of those above."""
    strongest: dict[str, str] = {}
    for permissions in (WORK, FETCH, PUSH, LIST):
        for name, level in permissions.items():
            strongest[name] = max(level, strongest.get(name, "read"))  # "read" < "write"
    return strongest


@dataclass(frozen=True, slots=True)
class Grant:
    """An installation token, when to replace it, and the installation whose lane it writes in."""

    installation: int
    token: Secret
    renew_at: datetime

    @property
    def authorization(self) -> str:
        """Return the value of the `Authorization` header."""
        return f"token {self.token.reveal()}"


class Tokens:
    """Signs as the App, finds installations, mints and keeps tokens. Safe from any thread."""

    def __init__(
        self, transport: Transport, app_id: int, private_key: Secret, clock: Clock
    ) -> None:
        self._transport = transport
        self._app_id = app_id
        self._key = private_key
        self._clock = clock
        self._skew = timedelta()
        self._installations: dict[str, int] = {}
        self._grants: dict[str, Grant] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def grant(self, repo: str) -> Grant:
        """Return a token to work on *repo* with: the kept one, or a new one when it runs out."""
        with self._lock(repo):
            kept = self._grants.get(repo)
            if kept is None or self._now() >= kept.renew_at:
                kept = self._grants[repo] = self._for_repository(repo, WORK)
            return kept

    def fresh(self, repo: str, permissions: Permissions) -> Grant:
        """Mint a token for one use."""
        with self._lock(repo):
            return self._for_repository(repo, permissions)

    def listing(self, installation: int) -> Grant:
        """Mint a token that can only list the repositories of an installation."""
        return self._mint(installation, {"permissions": LIST})

    def drop(self, repo: str, refused: Grant) -> None:
        """Forget a token that GitHub refused, and the installation it was minted for."""
        with self._lock(repo):
            if self._grants.get(repo) == refused:
                del self._grants[repo]
                self._installations.pop(repo, None)

    def app(
        self,
        verb: str,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Send a request as the App itself; once more by GitHub's clock when ours is refused.

        All that the App sends may be repeated: it reads, or it mints a token.
        """

        def attempt() -> Reply:
            return attempts()(
                lambda: self._transport.send(
                    verb, path, authorization=self._bearer(), parameters=parameters, body=body
                )
            )

        try:
            return attempt()
        except Unauthorized as refused:
            if refused.date is None or not self._adopt(refused.date):
                raise _bad_key(refused) from refused
        try:
            return attempt()
        except Unauthorized as refused:
            raise _bad_key(refused) from refused

    def _for_repository(self, repo: str, permissions: Permissions) -> Grant:
        body = {"permissions": permissions, "repositories": [repo.partition("/")[2]]}
        try:
            return self._mint(self._installation(repo), body)
        except Gone:  # a kept installation may have been removed and made anew
            if self._installations.pop(repo, None) is None:
                raise
            return self._mint(self._installation(repo), body)

    def _installation(self, repo: str) -> int:
        if repo not in self._installations:
            try:
                found = self.app("GET", f"/repos/{repo}/installation").read(wire.Installation)
            except Gone as error:
                raise Gone(f"the App is not installed on {repo}") from error
            if found.suspended_at is not None:
                raise Gone(f"the App's installation on {repo} is suspended")
            self._installations[repo] = found.id
        return self._installations[repo]

    def _mint(self, installation: int, body: Mapping[str, Any]) -> Grant:
        path = f"/app/installations/{installation}/access_tokens"
        try:
            minted = self.app("POST", path, body=body).read(wire.Token)
        except Broken as error:
            raise NeedsPerson(
                f"{error}. Accept the App's new permissions, or give it the repository"
            ) from error
        now = self._now()
        # A server may hand out tokens that live shorter than our margin.
        margin = min(RENEW_BEFORE, (minted.expires_at - now) / 2)
        return Grant(installation, Secret(minted.token), minted.expires_at - margin)

    def _bearer(self) -> str:
        now = self._now()
        claims = {
            "iat": int((now - JWT_BEFORE).timestamp()),
            "exp": int((now + JWT_LIFE).timestamp()),
            "iss": str(self._app_id),
        }
        return f"Bearer {jwt.encode(claims, self._signer, algorithm='RS256')}"

    @cached_property
    def _signer(self) -> rsa.RSAPrivateKey:
        """The key, read once: that checks its numbers, for some 30 ms."""
        algorithm = jwt.get_algorithm_by_name("RS256")
        key: rsa.RSAPrivateKey = algorithm.prepare_key(self._key.reveal())
        return key

    def _adopt(self, server_time: datetime) -> bool:
        """Take the server's time for ours; return whether that changes anything."""
        skew = server_time - self._clock.now()
        changed = abs(skew - self._skew) > timedelta(seconds=5)
        self._skew = skew
        return changed

    def _now(self) -> datetime:
        return self._clock.now() + self._skew

    def _lock(self, repo: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(repo, threading.Lock())


def _bad_key(refused: Unauthorized) -> NeedsPerson:
    return NeedsPerson(f"{refused}; check REGREEN_APP_ID and REGREEN_PRIVATE_KEY")
