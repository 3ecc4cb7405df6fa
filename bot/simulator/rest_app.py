"""REST operations about the App, its installations, its deliveries, and the server itself."""

from datetime import timedelta
from typing import Any

from bot.simulator import auth, webhooks
from bot.simulator.clock import now, stamp
from bot.simulator.problems import Problem, invalid, not_found
from bot.simulator.rest import (
    RATE_LIMIT,
    Call,
    Caller,
    Operation,
    Reply,
    listed,
    page,
)
from bot.simulator.state import Installation, Json, Repo, Token, User
from bot.simulator.webhooks import Attempt


def get_app(call: Call) -> Any:
    """Answer the App."""
    count = len(call.hub.state.installations)
    return {**call.shapes.app(call.hub.app), "installations_count": count}


def get_hook_config(call: Call) -> Any:
    """Answer where deliveries go; the secret stays hidden."""
    outbox = call.hub.outbox
    return {
        "content_type": "json",
        "insecure_ssl": "0",
        "secret": "********",
        "url": outbox.url,
    }


def list_deliveries(call: Call) -> Any:
    """List every attempt, newest first; the cursor is the number of the next one."""
    attempts = sorted(call.hub.outbox.attempts, key=lambda a: a.id, reverse=True)
    cursor = call.query.get("cursor", "")
    if cursor:
        if not cursor.isdigit():
            raise invalid("Delivery", "cursor", "cursor is invalid", "invalid")
        attempts = [a for a in attempts if a.id <= int(cursor)]
    wanted = call.query.get("status")
    if wanted:
        attempts = [a for a in attempts if (a.status == "OK") == (wanted == "success")]
    size = min(int(call.query.get("per_page", "30")), 100)
    headers = {}
    if len(attempts) > size:
        url = f"{call.hub.url}{call.path}?per_page={size}&cursor={attempts[size].id}"
        headers["Link"] = f'<{url}>; rel="next"'
    return Reply(200, [webhooks.item(attempt) for attempt in attempts[:size]], headers)


def get_delivery(call: Call) -> Any:
    """Answer one attempt with its request and response."""
    return webhooks.full_item(_attempt(call), call.hub.outbox.url)


def redeliver(call: Call) -> Any:
    """Send a delivery again."""
    call.hub.outbox.redeliver(_attempt(call).id)
    return Reply(202, {})


def _attempt(call: Call) -> Attempt:
    wanted = call.params["delivery_id"]
    found = next((a for a in call.hub.outbox.attempts if a.id == wanted), None)
    if found is None:
        raise not_found()
    return found


def list_installations(call: Call) -> Any:
    """List the App's installations."""
    rows = list(call.hub.state.installations.values())
    return listed(call, rows, lambda row: call.shapes.installation(call.hub.app, row))


def get_installation(call: Call) -> Any:
    """Answer one installation."""
    return call.shapes.installation(call.hub.app, _installation(call))


def _installation(call: Call) -> Installation:
    found = call.hub.state.installations.get(call.params["installation_id"])
    if found is None:
        raise not_found()
    return found


def get_repo_installation(call: Call) -> Any:
    """Answer the installation that covers a repository."""
    repo = call.hub.state.repos.get(f"{call.params['account']}/{call.params['name']}")
    found = call.hub.installation(repo.owner) if repo is not None and repo.installed else None
    if found is None:
        raise not_found()
    return call.shapes.installation(call.hub.app, found)


def create_token(call: Call) -> Any:
    """Issue an installation token, narrowed as asked."""
    installation = _installation(call)
    if installation.suspended_at is not None:
        raise Problem(403, "This installation has been suspended")
    repos = _wanted_repos(call, auth.covered(call.hub, installation))
    token = auth.mint(call.hub, installation, repos, call.body.get("permissions"))
    body: Json = {
        "token": token.text,
        "expires_at": stamp(token.expires_at),
        "permissions": token.permissions,
        "repository_selection": "selected",
    }
    if "repositories" in call.body or "repository_ids" in call.body:
        body["repositories"] = [call.shapes.repo(repo) for repo in repos]
    return Reply(201, body)


def _wanted_repos(call: Call, covered: list[Repo]) -> list[Repo]:
    names, ids = call.body.get("repositories"), call.body.get("repository_ids")
    if names is None and ids is None:
        return covered
    chosen = [r for r in covered if r.name in (names or ()) or r.id in (ids or ())]
    if len(chosen) < len(set(names or ())) + len(set(ids or ())):
        raise Problem(
            422,
            "There is at least one repository that does not exist or is not accessible to "
            "the parent installation.",
        )
    return chosen


def revoke_token(call: Call) -> Any:
    """End the token that asks."""
    assert isinstance(call.who, Token)
    del call.hub.state.tokens[call.who.text]
    return Reply(204)


def list_token_repos(call: Call) -> Any:
    """List the repositories that the token reaches."""
    assert isinstance(call.who, Token)
    rows = [repo for repo in call.hub.state.repos.values() if repo.id in call.who.repos]
    shown, headers = page(call, rows)
    body = {
        "total_count": len(rows),
        "repository_selection": "selected",
        "repositories": [call.shapes.repo(repo) for repo in shown],
    }
    return Reply(200, body, headers)


def get_user(call: Call) -> Any:
    """Answer who the person is."""
    assert isinstance(call.who, User)
    return call.shapes.full_user(call.who)


def find_user(call: Call) -> Any:
    """Answer any account by its login."""
    user = call.hub.state.users.get(call.params["login"])
    if user is None:
        raise not_found()
    return call.shapes.full_user(user)


def get_rate_limit(_call: Call) -> Any:
    """Answer a rate limit that nobody reaches."""
    reset = int((now() + timedelta(hours=1)).timestamp())
    core = {"limit": RATE_LIMIT, "used": 0, "remaining": RATE_LIMIT, "reset": reset}
    search = {"limit": 30, "used": 0, "remaining": 30, "reset": reset}
    return {"resources": {"core": core, "search": search}, "rate": core}


def get_meta(_call: Call) -> Any:
    """Answer what this server is."""
    return {"verifiable_password_authentication": False, "hooks": ["127.0.0.1/32"]}


OPERATIONS = (
    Operation("GET", "/app", get_app, Caller.APP),
    Operation("GET", "/app/hook/config", get_hook_config, Caller.APP),
    Operation("GET", "/app/hook/deliveries", list_deliveries, Caller.APP),
    Operation("GET", "/app/hook/deliveries/{delivery_id:int}", get_delivery, Caller.APP),
    Operation("POST", "/app/hook/deliveries/{delivery_id:int}/attempts", redeliver, Caller.APP),
    Operation("GET", "/app/installations", list_installations, Caller.APP),
    Operation("GET", "/app/installations/{installation_id:int}", get_installation, Caller.APP),
    Operation(
        "POST",
        "/app/installations/{installation_id:int}/access_tokens",
        create_token,
        Caller.APP,
    ),
    Operation("GET", "/repos/{account}/{name}/installation", get_repo_installation, Caller.APP),
    Operation("GET", "/installation/repositories", list_token_repos, Caller.INSTALLATION),
    Operation("DELETE", "/installation/token", revoke_token, Caller.INSTALLATION),
    Operation("GET", "/user", get_user, Caller.PERSON),
    Operation("GET", "/users/{login}", find_user, Caller.ANYONE),
    Operation("GET", "/rate_limit", get_rate_limit, Caller.ANYONE),
    Operation("GET", "/meta", get_meta, Caller.ANYONE),
)
