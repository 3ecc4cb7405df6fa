"""Row 1: somebody who does not know the webhook's secret sends deliveries.

Control: `bot.web.signature.genuine`, HMAC-SHA256 over the raw bytes; without a secret there is no
endpoint. Off (everything is genuine), what is forged is stored.
"""

import hashlib
import hmac

import pytest

from bot.domain.errors import ConfigError, Gone
from bot.domain.values import Secret
from bot.runtime.inbox import Inbox
from bot.telemetry.metrics import PrometheusTelemetry
from bot.web import webhooks
from bot.web.signature import genuine, sign
from tests.support.controls import switched_off
from tests.support.intake import BODY, SECRET, Server, StoppedClock, Store, server, store

__all__ = ["server", "store"]

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
PUBLISHED_SECRET = b"It's a Secret to Everybody"
PUBLISHED_BODY = b"Hello, World!"
PUBLISHED = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


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


def test_an_empty_secret_signs_nothing():
    assert not genuine([b""], b"{}", sign(b"", b"{}"))


@pytest.mark.parametrize("place", [0, 31, 63])
def test_a_flipped_digit_is_401_and_leaves_no_row(server: Server, place: int):
    digits = list(hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest())
    digits[place] = "0" if digits[place] != "0" else "1"
    assert server.post(x_hub_signature_256="sha256=" + "".join(digits)).status == 401
    assert server.store.waiting(10) == []


def test_sha_1_alone_is_401(server: Server):
    old = hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest()
    answer = server.post(x_hub_signature_256=None, x_hub_signature=f"sha1={old}")
    assert answer.status == 401
    assert "X-Hub-Signature-256" in answer.text
    assert server.store.waiting(10) == []


def test_unsigned_nonsense_is_not_kept(server: Server):
    assert server.post(b"{", key="wrong").status == 401
    with pytest.raises(Gone):
        server.store.read("g-1")


@pytest.mark.parametrize("empty", [(), (Secret(""),), (Secret("a"), Secret(""))])
def test_without_a_secret_there_is_no_endpoint(empty: tuple[Secret, ...], store: Store):
    with pytest.raises(ConfigError, match="REGREEN_WEBHOOK_SECRET"):
        webhooks.Webhooks(
            Inbox(store), secrets=empty, clock=StoppedClock(), telemetry=PrometheusTelemetry()
        )


def test_without_the_check_it_would_be_stored(server: Server):
    with switched_off(webhooks, "genuine", lambda *_: True):
        assert server.post(key="wrong").status == 202
    assert server.store.guids() == {"g-1"}
