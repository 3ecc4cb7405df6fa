"""Row 43: a page in a person's browser calls the server, or has it show or redirect to something.

There is no dashboard yet; what a browser could reach are the webhook, three pages of text and the
API. Controls: the token in a header, which no form and no foreign page can send, and no cookie;
JSON, with headers that keep browsers from making a page of it; no redirects. Off (a cookie is taken
for the token, as dashboards do), the foreign form is obeyed.
"""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.api import TOKEN, Whole

FORM = {"content_type": "application/x-www-form-urlencoded", "origin": "https://evil.example"}
COOKIE = {"cookie": f"token={TOKEN.reveal()}; session={TOKEN.reveal()}"}
APPROVE = "/api/meta/v3/approvals/g1/approve"
SCRIPT = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"


@pytest.mark.parametrize("path", [APPROVE, "/api/meta/v3/runs/r1/retry"])
def test_a_foreign_form_is_refused_whatever_cookies_it_brings(path):
    answer = Whole().call("POST", path, b"approver=owner", **FORM, **COOKIE)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [APPROVE, "/api/engine-settings"])
def test_a_foreign_page_is_not_allowed_to_send_the_token(path):
    asked = {"origin": "https://evil.example", "access_control_request_headers": "authorization"}
    answer = Whole().call("OPTIONS", path, b"", **asked, access_control_request_method="POST")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_with_a_cookie_for_a_token_the_form_would_be_obeyed():
    async def careless(request: Request) -> Response:
        return Response(status_code=202 if TOKEN.reveal() in str(request.cookies) else 401)

    whole = Whole([Route("/careless", careless, methods=["POST"])])
    assert whole.call("POST", "/careless", b"approver=owner", **FORM, **COOKIE).status_code == 202


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", f"/api/meta/v3/runs/{SCRIPT}"])
def test_no_answer_is_a_page(path):
    told = {"authorization": f"Bearer {TOKEN.reveal()}"}
    answer = Whole().call("GET", f"{path}/autofix" if SCRIPT in path else path, b"", **told)
    assert "html" not in answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/", "/healthz/", "//evil.example/", "/%2F%2Fevil.example/.."])
def test_nothing_is_redirected(path):
    answer = Whole().call("GET", path, host="evil.example")
    assert answer.status_code == 404
    assert "location" not in answer.headers
