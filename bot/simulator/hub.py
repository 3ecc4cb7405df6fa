"""The parts of one simulated GitHub, handed to every operation, and how an event leaves it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bot.simulator.shapes import Shapes
from bot.simulator.state import App, Installation, Json, Repo, State, User
from bot.simulator.webhooks import Outbox


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things live, in seconds."""

    token_s: float = 3600.0
    log_link_s: float = 60.0


@dataclass(slots=True)
class Hub:
    """One simulated GitHub: its state, its App, its outgoing mail and its runners."""

    url: str
    state: State
    app: App
    actions: App
    private_key: str
    outbox: Outbox
    runners: ThreadPoolExecutor
    root: Path  # of the bare repositories
    work: Path  # of the runners
    private: bool
    people: dict[str, str]  # permissions in a new repository, by login
    limits: Limits
    run_workflows: bool
    path: str  # where the runners find their tools
    others: dict[str, App] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # requests counted against the rate limit

    def shapes(self, prefix: str = "") -> Shapes:
        """Return the builders for callers that address the API under *prefix*."""
        return Shapes(self.state, self.url, self.url + prefix)

    def installation(self, account: User) -> Installation | None:
        """Return the App's installation on an account."""
        found = self.state.installations.values()
        return next((each for each in found if each.account is account), None)

    def other_app(self, slug: str) -> App:
        """Return another App that publishes checks, made when it is new."""
        if slug not in self.others:
            bot = self.state.user(f"{slug}[bot]", "Bot")
            number, at = self.state.next_id(), self.app.created_at
            permissions = {"checks": "write"}
            self.others[slug] = App(number, slug, slug, bot, bot, permissions, (), at)
        return self.others[slug]

    def emit(self, event: str, repo: Repo, sender: User, body: Json) -> None:
        """Send an event about *repo* to the App, if it is installed there and listens."""
        installation = self.installation(repo.owner) if repo.installed else None
        if installation is None or installation.suspended_at or event not in self.app.events:
            return
        shapes = self.shapes()
        payload = {
            **body,
            "repository": shapes.repo(repo),
            "sender": shapes.user(sender),
            "installation": {"id": installation.id, "node_id": f"MDI_{installation.id}"},
        }
        self.outbox.post(event, payload, installation=installation.id, repository=repo.id)

    def emit_installation(
        self, event: str, installation: Installation, sender: User, body: Json
    ) -> None:
        """Send an event about the installation itself."""
        shapes = self.shapes()
        payload = {
            **body,
            "installation": shapes.installation(self.app, installation),
            "sender": shapes.user(sender),
        }
        self.outbox.post(event, payload, installation=installation.id, repository=None)
