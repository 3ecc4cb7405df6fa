"""Everything that talks to GitHub, put together once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import httpx

from bot.config.schema import Server
from bot.domain.ports import Clock
from bot.domain.values import Value
from bot.github import wire
from bot.github.auth import EVENTS, Tokens, required_permissions
from bot.github.card import Cards
from bot.github.checks import GitHubChecks
from bot.github.client import Client
from bot.github.comments import GitHubComments
from bot.github.logs import Logs
from bot.github.pulls import GitHubPulls
from bot.github.repos import GitHubRepos
from bot.github.transport import TIMEOUT_S, Transport

SECONDS_BETWEEN_WRITES = 1.0  # GitHub asks for it; faster writers are blocked


class Identity(Value, frozen=True):
    """The App as GitHub knows it, and what it lacks of what we need."""

    app_id: int
    name: str
    slug: str
    url: str
    permissions: Mapping[str, str]
    events: tuple[str, ...]
    missing_permissions: Mapping[str, str]
    missing_events: tuple[str, ...]


@dataclass(frozen=True)
class GitHub:
    """The ports of one GitHub, and who we are there."""

    pulls: GitHubPulls
    checks: GitHubChecks
    comments: GitHubComments
    repos: GitHubRepos
    tokens: Tokens
    _transport: Transport
    _http: httpx.Client

    def whoami(self) -> Identity:
        """Ask GitHub who the App is and what it may do."""
        app = self.tokens.app("GET", "/app").read(wire.App)
        return Identity(
            app_id=app.id,
            name=app.name,
            slug=app.slug,
            url=app.html_url,
            permissions=app.permissions,
            events=tuple(app.events),
            missing_permissions={
                name: level
                for name, level in required_permissions().items()
                if app.permissions.get(name, "") not in (level, "write", "admin")
            },
            missing_events=tuple(event for event in EVENTS if event not in app.events),
        )

    def app_slug(self) -> str:
        """Return the App's slug, asked once."""
        return self._slug

    def close(self) -> None:
        """Close every connection; the ports are of no use afterwards."""
        self._transport.close()
        self._http.close()

    @cached_property
    def _slug(self) -> str:
        return self.whoami().slug


def connect(
    server: Server,
    clock: Clock,
    *,
    seconds_between_writes: float = SECONDS_BETWEEN_WRITES,
    log_hosts: Sequence[str] = (),
) -> GitHub:
    """Build the ports for a server's GitHub; nothing is sent yet.

    *log_hosts* are domains from which an Enterprise Server serves logs besides its own.
    """
    transport = Transport(server.github_url, clock, seconds_between_writes)
    tokens = Tokens(transport, server.app_id, server.private_key, clock)
    client = Client(transport, tokens)
    http = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False)
    logs = Logs(client, server.github_url, http, log_hosts)
    return GitHub(
        pulls=GitHubPulls(client),
        checks=GitHubChecks(client, server.app_id, Cards(client, server.app_id), logs),
        comments=GitHubComments(client, server.app_id),
        repos=GitHubRepos(client, tokens, transport),
        tokens=tokens,
        _transport=transport,
        _http=http,
    )
