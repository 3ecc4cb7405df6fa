"""Whose bodies are believed, and what they must look like."""

import json

import pytest

from bot.domain.errors import Broken
from bot.web.envelopes import ENVELOPES, action
from bot.web.signature import genuine, sign

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
PUBLISHED_SECRET = b"It's a Secret to Everybody"
PUBLISHED_BODY = b"Hello, World!"
PUBLISHED = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

BODIES: dict[str, dict[str, object]] = {
    "ping": {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}},
    "pull_request": {"action": "opened", "number": 1, "pull_request": {}, "repository": {}},
    "check_run": {"action": "requested_action", "check_run": {}, "repository": {}},
    "check_suite": {"action": "completed", "check_suite": {}, "repository": {}},
    "workflow_run": {"action": "completed", "workflow_run": {}, "workflow": {}, "repository": {}},
    "status": {"id": 1, "sha": "a", "state": "failure", "context": "ci", "repository": {}},
    "issue_comment": {"action": "created", "issue": {}, "comment": {}, "repository": {}},
    "installation": {"action": "created", "installation": {}, "repositories": []},
    "installation_repositories": {
        "action": "added",
        "installation": {},
        "repositories_added": [{}],
        "repositories_removed": [],
    },
}
SWAPS = [(name, sent) for name in ENVELOPES for sent in BODIES if name != sent]


def test_the_published_example_is_genuine():
    assert sign(PUBLISHED_SECRET, PUBLISHED_BODY) == PUBLISHED
    assert genuine([PUBLISHED_SECRET], PUBLISHED_BODY, PUBLISHED)


@pytest.mark.parametrize("place", range(len("sha256="), len(PUBLISHED)))
def test_each_flipped_digit_is_refused(place: int):
    flipped = bytearray(PUBLISHED)
    flipped[place] = ord("0") if flipped[place] != ord("0") else ord("1")
    assert not genuine([PUBLISHED_SECRET], PUBLISHED_BODY, bytes(flipped))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"sha256=",
        PUBLISHED[7:],
        PUBLISHED[:-1],
        PUBLISHED + b"0",
        b"sha1=" + PUBLISHED[7:],
        b"\xff",
    ],
    ids=["empty", "no digits", "no prefix", "short", "long", "called sha1", "not ascii"],
)
def test_an_odd_signature_is_refused(signature: bytes):
    assert not genuine([PUBLISHED_SECRET], PUBLISHED_BODY, signature)


def test_a_changed_body_is_refused():
    assert not genuine([PUBLISHED_SECRET], PUBLISHED_BODY + b" ", PUBLISHED)


def test_either_of_two_secrets_is_live_and_a_removed_one_is_not():
    old, new = sign(b"old", b"{}"), sign(b"new", b"{}")
    assert genuine([b"new", b"old"], b"{}", old)
    assert genuine([b"new", b"old"], b"{}", new)
    assert not genuine([b"new"], b"{}", old)
    assert not genuine([], b"{}", old)


def test_an_empty_secret_signs_nothing():
    assert not genuine([b""], b"{}", sign(b"", b"{}"))


def test_every_event_has_a_body_here():
    assert set(BODIES) == set(ENVELOPES)


@pytest.mark.parametrize("event", BODIES)
def test_an_event_says_its_action(event: str):
    body = BODIES[event]
    assert action(event, json.dumps(body).encode()) == body.get("action", "")


@pytest.mark.parametrize(("event", "sent"), SWAPS, ids=[f"{b} as {a}" for a, b in SWAPS])
def test_a_body_under_another_name_is_refused(event: str, sent: str):
    with pytest.raises(Broken):
        action(event, json.dumps(BODIES[sent]).encode())


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
