"""The control addresses under `/_sim`: for tests and demos in another process.

They are no part of GitHub, ask for no credentials, and take and answer JSON:

    GET    /_sim/idle                          {"idle": true} when nothing is under way
    GET    /_sim/effects                       every write request of the App, oldest first
    GET    /_sim/people                        logins and their tokens
    POST   /_sim/webhook                       {"url", "secret"}
    POST   /_sim/ping                          send a ping
    POST   /_sim/switches                      {"drop", "duplicate", "reorder", "paused"}
    POST   /_sim/redeliver                     {"id"}
    POST   /_sim/faults                        {"method", "path", "times", "kind", "status",
                                                "headers", "body"}
    DELETE /_sim/faults                        no more trouble
    POST   /_sim/tokens/expire                 end every installation token now
    POST   /_sim/installation                  {"account", "action", "by"}
    POST   /_sim/repos/OWNER/NAME/installed    {"installed", "by"}
    POST   /_sim/repos/OWNER/NAME/permission   {"login", "permission"}
    POST   /_sim/repos/OWNER/NAME/commit       {"branch", "files", "message", "by"}
    POST   /_sim/repos/OWNER/NAME/branch       {"branch", "sha", "by"}; without a sha it is deleted
    POST   /_sim/repos/OWNER/NAME/press        {"number", "button", "by"}
    POST   /_sim/repos/OWNER/NAME/rerequest    {"check", "by"}
    POST   /_sim/repos/OWNER/NAME/fail         {"number", "name", "log", "rerun"}
    POST   /_sim/repos/OWNER/NAME/delete-fork  {"number"}
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.simulator import auth, checks, pulls, scenes
from bot.simulator.clock import now, stamp
from bot.simulator.faults import Fault, Faults, Kind
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem, not_found
from bot.simulator.state import Json, Repo, User

Action = Callable[[Hub, Json], Any]
RepoAction = Callable[[Hub, Repo, Json], Any]
RequestAction = Callable[[Hub, Request, Json], Any]


def idle(hub: Hub) -> bool:
    """Tell whether no delivery and no workflow is under way."""
    return hub.outbox.idle() and all(r.status == "completed" for r in hub.state.runs.values())


def _by(hub: Hub, body: Json) -> User:
    return hub.state.user(str(body.get("by", "owner")))


def _webhook(hub: Hub, body: Json) -> None:
    hub.outbox.url = body["url"]
    hub.outbox.secret = body.get("secret", hub.outbox.secret)


def _switches(hub: Hub, body: Json) -> None:
    hub.outbox.set(replace(hub.outbox.switches, **body))


def _redeliver(hub: Hub, body: Json) -> None:
    if not hub.outbox.redeliver(body["id"]):
        raise not_found()


def _installation(hub: Hub, body: Json) -> None:
    account = hub.state.user(body["account"])
    scenes.installation_event(hub, account, body["action"], _by(hub, body))


def _installed(hub: Hub, repo: Repo, body: Json) -> None:
    scenes.change_repos(hub, repo, installed=body["installed"], by=_by(hub, body))


def _commit(hub: Hub, repo: Repo, body: Json) -> Json:
    by, message = _by(hub, body), body.get("message", "Change files")
    return {"sha": scenes.commit(hub, repo, body["branch"], body["files"], message, by)}


def _branch(hub: Hub, repo: Repo, body: Json) -> None:
    scenes.move_branch(hub, repo, body["branch"], body.get("sha"), _by(hub, body))


def _press(hub: Hub, repo: Repo, body: Json) -> Json:
    pull = pulls.find(hub, repo, body["number"])
    return {"check": scenes.press(hub, pull, body["button"], _by(hub, body)).id}


def _rerequest(hub: Hub, repo: Repo, body: Json) -> None:
    check = hub.state.checks.get(body["check"])
    if check is None or check.suite.repo is not repo:
        raise not_found()
    checks.tell(hub, check, "rerequested", _by(hub, body))


def _fail(hub: Hub, repo: Repo, body: Json) -> Json:
    pull = pulls.find(hub, repo, body["number"])
    rerun = body.get("rerun", "failure")
    path = ".github/workflows/ci.yml"
    job = scenes.fail_check(hub, pull, body["name"], body["log"], rerun=rerun, path=path)
    return {"job": job}


def _effects(hub: Hub, _body: Json) -> Any:
    return [{**asdict(each), "at": stamp(each.at)} for each in hub.state.effects]


def _people(hub: Hub, _body: Json) -> Json:
    return {user.login: user.token for user in hub.state.users.values() if user.token}


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "idle"): lambda hub, _: {"idle": idle(hub)},
    ("GET", "effects"): _effects,
    ("GET", "people"): _people,
    ("POST", "webhook"): _webhook,
    ("POST", "ping"): lambda hub, _: scenes.ping(hub),
    ("POST", "switches"): _switches,
    ("POST", "redeliver"): _redeliver,
    ("POST", "tokens/expire"): lambda hub, _: {"expired": auth.expire(hub, now())},
    ("POST", "installation"): _installation,
}
REPO_ACTIONS: dict[str, RepoAction] = {
    "installed": _installed,
    "permission": lambda hub, repo, body: scenes.set_permission(
        hub, repo, body["login"], body["permission"]
    ),
    "commit": _commit,
    "branch": _branch,
    "press": _press,
    "rerequest": _rerequest,
    "fail": _fail,
    "delete-fork": lambda hub, repo, body: scenes.delete_fork(
        hub, pulls.find(hub, repo, body["number"])
    ),
}


def routes(hub: Hub, faults: Faults) -> list[Route]:
    """Serve the control addresses."""
    plain = [
        _route(hub, method, f"/_sim/{name}", _anywhere(act))
        for (method, name), act in ACTIONS.items()
    ]
    about_repos = [
        _route(hub, "POST", f"/_sim/repos/{{owner}}/{{name}}/{word}", _in_repo(act))
        for word, act in REPO_ACTIONS.items()
    ]
    return [*plain, *about_repos, *_fault_routes(hub, faults)]


def _anywhere(act: Action) -> RequestAction:
    return lambda hub, _request, body: act(hub, body)


def _in_repo(act: RepoAction) -> RequestAction:
    return lambda hub, request, body: act(hub, _named(hub, request), body)


def _fault_routes(hub: Hub, faults: Faults) -> list[Route]:
    def plan(_hub: Hub, _request: Request, body: Json) -> None:
        kind = Kind(body.pop("kind", "answer"))
        faults.planned.append(Fault(kind=kind, **body))

    def clear(_hub: Hub, _request: Request, _body: Json) -> None:
        faults.planned.clear()

    path = "/_sim/faults"
    return [_route(hub, "POST", path, plan), _route(hub, "DELETE", path, clear)]


def _named(hub: Hub, request: Request) -> Repo:
    params = request.path_params
    return scenes.repo(hub, f"{params['owner']}/{params['name']}")


def _route(hub: Hub, method: str, path: str, act: RequestAction) -> Route:
    def answer(request: Request, body: Json) -> Response:
        with hub.state.lock:
            try:
                result = act(hub, request, body)
            except Problem as problem:
                return JSONResponse(problem.body(), problem.status)
            except (KeyError, TypeError, ValueError) as error:
                return JSONResponse({"message": f"Wrong or missing: {error}"}, 422)
        return JSONResponse({} if result is None else result)

    async def endpoint(request: Request) -> Response:
        body = await request.json() if await request.body() else {}
        return await run_in_threadpool(answer, request, body)

    return Route(path, endpoint, methods=[method])
