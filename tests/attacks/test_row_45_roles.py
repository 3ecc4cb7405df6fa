"""Row 45: a caller without the role reads or changes something.

Control: `endpoint`, which asks every call for the token before it looks at anything; only what
`OPEN` lists is for everybody. The matrix is made from the application's own routes, so a new route
is in it; off (a route without `endpoint`), it is found. What people may do at GitHub is in rows 9,
12 and 14.
"""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.support.api import TOKEN, Whole

OPEN = {"/healthz", "/readyz", "/metrics"}
ROLES = {
    "no token": {},
    "a wrong token": {"authorization": "Bearer " + "x" * 20},
    "the beginning of the token": {"authorization": f"Bearer {TOKEN.reveal()[:-1]}"},
    "the token and more": {"authorization": f"Bearer {TOKEN.reveal()}x"},
    "the webhook's secret": {"authorization": "Bearer " + "s" * 20},
    "another scheme": {"authorization": f"Basic {TOKEN.reveal()}"},
    "a cookie": {"cookie": f"authorization=Bearer {TOKEN.reveal()}"},
    "a query": {},
}
RIGHT = {"authorization": f"Bearer {TOKEN.reveal()}"}


def calls(routes: tuple[BaseRoute, ...]) -> list[tuple[str, str]]:
    """Return method and path of each call that is not for everybody."""
    found = [one for one in routes if isinstance(one, Route)]
    assert len(found) == len(routes)  # nothing is mounted, which would not be looked into
    return sorted(
        (method, one.path.replace("{run_id}", "r1").replace("{gate_id}", "g1"))
        for one in found
        for method in one.methods or set()
        if one.path not in OPEN
    )


def let_in(whole: Whole) -> list[tuple[str, str, str]]:
    """Return who was let in where, of those who may not be."""
    return [
        (role, method, path)
        for method, path in calls(whole.app.routes)
        for role, headers in ROLES.items()
        if whole.call(method, _asked(role, path), b"{}", **headers).status_code != 401
    ]


def _asked(role: str, path: str) -> str:
    return f"{path}?token={TOKEN.reveal()}" if role == "a query" else path


def test_nobody_is_let_in_without_the_token():
    whole = Whole()
    assert len(calls(whole.app.routes)) >= 9
    assert let_in(whole) == []
    (noted,) = whole.audit.of("/api")  # once an hour, however many there are
    assert noted["kind"] == "api.refused"
    assert whole.deliveries.waiting(10) == []


@pytest.mark.parametrize(("method", "path"), calls(Whole().app.routes))
def test_with_the_token_the_call_is_looked_at(method, path):
    assert Whole().call(method, path, b"{}", **RIGHT).status_code not in {401, 405, 500}


def test_a_route_without_the_control_would_be_found():
    async def careless(_: Request) -> Response:
        return Response("secret")

    whole = Whole([Route("/careless", careless)])
    assert {path for _, _, path in let_in(whole)} == {"/careless"}


def test_a_server_without_a_token_serves_none_of_it():
    whole = Whole(token=None)
    assert calls(whole.app.routes) == []
    for method, path in calls(Whole().app.routes):
        assert whole.call(method, path, b"{}", **RIGHT).status_code == 404
