"""Probes of a model's API over real sockets."""

import socket

import pytest

from bot.domain.answers import Ending
from bot.domain.models import Api, Grant, Origin
from bot.domain.values import PullRef, Secret
from bot.gateway.probe import HttpProbes
from tests.support.model_api import Request, model_api, reply, says

ORIGIN = Origin("", 0, PullRef("", 0), "", "first")
KEY = Secret("sk-real")


def probed(url: str, api: Api = Api.OPENAI, *, timeout_s: float = 5.0) -> Ending:
    probes = HttpProbes(lambda *_, **__: Grant(ORIGIN, api, url, KEY))
    seen = probes.probe("first", "", fallback=False, timeout_s=timeout_s)
    assert seen is not None
    assert seen.probe
    return seen.ending


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (200, Ending.NO_CHANGE),
        (302, Ending.NO_CHANGE),
        (401, Ending.AUTH),
        (403, Ending.NO_CHANGE),
        (404, Ending.NO_CHANGE),
        (405, Ending.NO_CHANGE),
        (429, Ending.RATE_LIMITED),
        (500, Ending.UNAVAILABLE),
        (501, Ending.NO_CHANGE),
        (503, Ending.UNAVAILABLE),
        (529, Ending.UNAVAILABLE),
    ],
)
def test_the_status_says_whether_it_is_there(status: int, ending: Ending):
    with model_api(says(reply(status, b"<html>"))) as api:
        assert probed(api.url) is ending


@pytest.mark.parametrize(
    ("api", "path", "header", "value"),
    [
        (Api.OPENAI, "/v1/models", "authorization", "Bearer sk-real"),
        (Api.ANTHROPIC, "/v1/models", "x-api-key", "sk-real"),
        (Api.GEMINI, "/v1beta/models", "x-goog-api-key", "sk-real"),
    ],
)
def test_each_api_is_asked_for_its_models_with_the_real_key(api, path, header, value):
    with model_api(says(reply(200, b"{}"))) as server:
        base = server.url if api is Api.OPENAI else server.url.removesuffix("/v1")
        assert probed(base, api) is Ending.NO_CHANGE
        (asked,) = server.seen
    assert (asked.method, asked.path, asked.headers[header]) == ("GET", path, value)
    assert ("anthropic-version" in asked.headers) is (api is Api.ANTHROPIC)


def test_nobody_there_is_the_network_s_fault():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert probed(f"http://127.0.0.1:{port}/v1") is Ending.NETWORK


def test_a_probe_ends_in_time():
    def silent(request: Request):
        server.left.wait(5)
        yield b""

    with model_api(silent) as server:
        assert probed(server.url, timeout_s=0.2) is Ending.TIMEOUT
        server.left.set()


def test_what_has_no_api_cannot_be_asked():
    probes = HttpProbes(lambda *_, **__: None)
    assert probes.probe("script", "", fallback=False, timeout_s=1.0) is None
