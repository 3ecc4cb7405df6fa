"""Makes one simulated GitHub from its options: accounts, the App, repositories and forks."""

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import defpath
from pathlib import Path

from bot.simulator import auth
from bot.simulator.clock import now
from bot.simulator.hub import Hub, Limits
from bot.simulator.repos import import_repo
from bot.simulator.state import LEVELS, App, Installation, Repo, State
from bot.simulator.webhooks import OnDelivery, Outbox, Switches

PERMISSIONS = {
    "actions": "write",
    "checks": "write",
    "contents": "write",
    "issues": "read",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
EVENTS = (
    "check_run",
    "check_suite",
    "issue_comment",
    "pull_request",
    "push",
    "status",
    "workflow_run",
)
_ACTIONS_APP = 15368  # the number that GitHub Actions has at GitHub


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What a simulated GitHub is made of.

    `repos` maps `owner/name` to any local git repository; `forks` maps the name of a fork to that
    of its parent; `people` maps logins to none, read, write or admin. `path` is the runners' PATH.
    Rates go from 0 to 1.
    """

    repos: Mapping[str, Path]
    forks: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(
        default_factory=lambda: {"owner": "admin", "stranger": "none"}
    )
    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None  # None: a temporary folder
    webhook_url: str = ""
    webhook_secret: str = "simulated-webhook-secret"  # noqa: S105 - for loopback only
    private: bool = False
    run_workflows: bool = True
    runners: int = 2
    path: str = f"{Path(sys.executable).parent}:/usr/local/bin:{defpath}"
    slug: str = "regreen"
    app_id: int = 424242
    private_key: str | None = None  # None: a new one
    permissions: Mapping[str, str] = field(default_factory=lambda: PERMISSIONS)
    events: tuple[str, ...] = EVENTS
    limits: Limits = field(default_factory=Limits)
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = 0


def build(options: SimOptions, data: Path, url: str, observer: OnDelivery | None) -> Hub:
    """Make everything but the server; deliveries are not yet sent."""
    state = State()
    outbox = Outbox(
        options.app_id,
        url=options.webhook_url,
        secret=options.webhook_secret,
        seed=options.seed,
        observer=observer,
    )
    outbox.set(Switches(options.drop, options.duplicate, options.reorder))
    app, actions = _apps(state, options)
    work = data / "_work"  # as a self-hosted runner names it
    work.mkdir(parents=True, exist_ok=True)
    hub = Hub(
        url=url,
        state=state,
        app=app,
        actions=actions,
        private_key=options.private_key or auth.new_key(),
        outbox=outbox,
        runners=ThreadPoolExecutor(options.runners, thread_name_prefix="runner"),
        root=data / "repos",
        work=work,
        private=options.private,
        people=dict(options.people),
        limits=options.limits,
        run_workflows=options.run_workflows,
        path=options.path,
    )
    _add_people(state, options)
    for full_name, source in options.repos.items():
        _install(hub, add_repo(hub, full_name, source, parent=None))
    for fork, parent in options.forks.items():
        origin = state.repos.get(parent)
        if origin is None:
            raise ValueError(f"{fork} cannot be a fork of {parent}, which is not served")
        add_repo(hub, fork, origin.git.path, parent=origin)
    key = data / "app.pem"
    key.touch(mode=0o600)
    key.write_text(hub.private_key)
    return hub


def _apps(state: State, options: SimOptions) -> tuple[App, App]:
    owner = state.user(f"{options.slug}-makers", "Organization")
    bot = state.user(f"{options.slug}[bot]", "Bot")
    permissions, at = dict(options.permissions), now()
    name = options.slug.capitalize()
    app = App(options.app_id, options.slug, name, bot, owner, permissions, options.events, at)
    runner = state.user("github-actions[bot]", "Bot")
    maker = state.user("github", "Organization")
    actions = App(_ACTIONS_APP, "github-actions", "GitHub Actions", runner, maker, {}, (), at)
    return app, actions


def _add_people(state: State, options: SimOptions) -> None:
    for login, level in options.people.items():
        if level not in LEVELS:
            raise ValueError(f"{login}: {level} is not one of {', '.join(LEVELS)}")
        state.user(login).token = auth.new_person_token()


def add_repo(hub: Hub, full_name: str, source: Path, *, parent: Repo | None) -> Repo:
    """Import a local git repository; a fork belongs to whoever its name says and has no App."""
    owner, _, name = full_name.partition("/")
    if not owner or not name or "/" in name:
        raise ValueError(f"{full_name} is not owner/name")
    git = import_repo(source, hub.root / owner / f"{name}.git")
    at = now()
    repo = Repo(
        id=hub.state.next_id(),
        owner=hub.state.users.get(owner) or hub.state.user(owner, "Organization"),
        name=name,
        git=git,
        private=hub.private,
        default_branch=git.default_branch(),
        created_at=at,
        pushed_at=at,
        parent=parent,
        people={} if parent else dict(hub.people),
        installed=parent is None,
    )
    hub.state.repos[full_name] = repo
    return repo


def _install(hub: Hub, repo: Repo) -> None:
    if hub.installation(repo.owner) is None:
        number = hub.state.next_id()
        hub.state.installations[number] = Installation(number, repo.owner, now())
