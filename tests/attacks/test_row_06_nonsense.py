"""Row 6: a delivery of another type, cut off, with numbers that JSON does not have, or too deep.

Control: the content type (415) and `bot.web.envelopes.action` (400); the reader is iterative and
strict. What is signed is kept for a person to look at, and is given to nobody. Off (nothing is
read), it would wait to be worked on.
"""

import pytest

from bot.domain.errors import Broken
from bot.web import webhooks
from bot.web.envelopes import action
from tests.support.controls import switched_off
from tests.support.intake import Server, server, store

__all__ = ["server", "store"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/x-www-form-urlencoded",
        "text/json",
        "application/json; charset=latin-1",
    ],
)
def test_another_content_type_is_415(server: Server, content_type: str | None):
    answer = server.post(content_type=content_type)
    assert answer.status == 415
    assert "application/json" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"action":"created","x":' + b"[" * 100_000,
        b'{"action":"created","check_run":{"id":NaN},"repository":{}}',
        b'{"action":"created","check_run":{"id":Infinity},"repository":{}}',
        b'{"action":"created","check_run":[],"repository":{}}',
        b'{"action":7,"check_run":{},"repository":{}}',
        b'{"action":"Created; DROP","check_run":{},"repository":{}}',
        b'{"action":"created","check_run":{"name":"\xff"},"repository":{}}',
        b'{"action":"created","check_run":{},"repository":{}} trailing',
        b'\xef\xbb\xbf{"action":"created","check_run":{},"repository":{}}',
    ],
    ids=lambda body: repr(body[:48]),
)
def test_what_makes_no_sense_is_refused(body: bytes):
    with pytest.raises(Broken):
        action("check_run", body)


ODD = {
    "cut off": b"{",
    "deep": b"[" * 100_000,
    "NaN": b'{"action":"created","check_run":{"id":NaN},"repository":{}}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_over_http_it_is_400_and_kept_when_signed(server: Server, body: bytes):
    assert server.post(body).status == 400
    assert server.store.read("g-1").body == body
    assert server.store.waiting(10) == []


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_without_the_reading_it_would_wait_for_work(server: Server, body: bytes):
    with switched_off(webhooks, "action", lambda *_: ""):
        assert server.post(body).status == 202
    assert [one.body for one in server.store.waiting(10)] == [body]
