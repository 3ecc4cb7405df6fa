"""The intake over real HTTP: what is answered, and that what was answered 202 is stored.

What a stranger sends is tried in `tests/attacks`, rows 1 to 6.
"""

import asyncio
import hashlib
import hmac
import http.client
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from bot.domain.errors import Gone, NeedsPerson, TryLater
from bot.domain.events import GateAnswered
from bot.domain.ports import Delivery
from bot.domain.values import PullRef, Sha
from bot.runtime.inbox import Inbox
from bot.store.database import connect
from bot.store.deliveries import SqlDeliveries
from handlers import payloads
from tests.support.intake import (
    BODY,
    DEADLINE_S,
    SECRET,
    Server,
    StoppedClock,
    Store,
    running,
    server,
    status_of,
    store,
    until,
)

__all__ = ["server", "store"]


class TestAccepted:
    def test_a_genuine_delivery_is_stored_before_the_answer(self, server: Server):
        assert server.post().status == 202
        expected = Delivery("g-1", "check_run", "completed", BODY, StoppedClock().now())
        assert server.store.waiting(10) == [expected]
        until(lambda: server.arrivals == [1])

    def test_a_duplicate_is_answered_alike_and_has_no_second_effect(self, server: Server):
        assert [server.post().status for _ in range(3)] == [202, 202, 202]
        assert len(server.store.waiting(10)) == 1
        until(lambda: server.arrivals == [1])

    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
    )
    def test_json_may_name_its_charset(self, server: Server, content_type: str):
        assert server.post(content_type=content_type).status == 202

    def test_an_event_that_we_do_not_use_is_counted_and_not_stored(self, server: Server):
        assert server.post(x_github_event="fork").status == 202
        assert server.store.waiting(10) == []
        page = server.ask("GET", "/metrics").text
        assert 'deliveries_total{event="other",outcome="ignored"} 1.0' in page

    def test_a_body_may_come_in_pieces(self, server: Server):
        signature = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
        connection = server.open(
            [
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
                "X-GitHub-Event: check_run",
                "X-GitHub-Delivery: pieces",
                f"X-Hub-Signature-256: sha256={signature}",
            ]
        )
        for piece in (BODY[:9], BODY[9:30], BODY[30:]):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        assert status_of(connection) == 202
        assert server.store.read("pieces").body == BODY

    def test_what_waits_together_is_committed_together(self, store: Store):
        store.gate.clear()
        with running(store) as server:
            posts = [
                threading.Thread(target=server.post, kwargs={"x_github_delivery": f"g-{number}"})
                for number in range(12)
            ]
            for post in posts:
                post.start()
            until(lambda: sum(store.batches) + len(server.inbox._waiting) == 12)
            store.gate.set()
            for post in posts:
                post.join(DEADLINE_S)
        assert sum(store.batches) == 12
        assert len(store.batches) < 12
        assert len(store.guids()) == 12


class TestRefused:
    def test_only_post_is_allowed(self, server: Server):
        answer = server.ask("GET", "/webhooks/github")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")

    @pytest.mark.parametrize(
        "headers",
        [
            {"x_github_event": None},
            {"x_github_delivery": None},
            {"x_github_event": "../check_run"},
            {"x_github_delivery": "a b"},
            {"x_github_delivery": "a" * 65},
        ],
        ids=["no event", "no delivery", "odd event", "odd delivery", "long delivery"],
    )
    def test_missing_names_are_400(self, server: Server, headers: dict[str, str | None]):
        assert server.post(BODY, key=SECRET, **headers).status == 400

    @pytest.mark.parametrize("event", [*payloads.OWN_PARSERS, "regreen.", "regreen.other"])
    def test_an_event_of_our_own_is_400_and_never_stored(self, server: Server, event: str):
        answer_given = GateAnswered(
            PullRef("octo/app", 7), "r1-1", approved=True, sha=Sha("a" * 40), by="mallory"
        )
        refused = server.post(msgspec.json.encode(answer_given), x_github_event=event)
        assert (refused.status, "our own interface" in refused.text) == (400, True)
        assert server.store.waiting(10) == []
        with pytest.raises(Gone):
            server.store.read("g-1")

    @pytest.mark.parametrize(
        "event", ["Regreen.approval", " regreen.approval", "regreen.approval "]
    )
    def test_nor_is_one_that_looks_like_it(self, server: Server, event: str):
        assert server.post(x_github_event=event).status == 400
        with pytest.raises(Gone):
            server.store.read("g-1")

    def test_a_client_that_goes_away_is_no_trouble(self, server: Server):
        connection = server.open(
            [
                "Content-Type: application/json",
                "Content-Length: 100",
                "X-Hub-Signature-256: sha256=00",
            ]
        )
        connection.sendall(b"{")
        connection.close()
        assert server.post().status == 202


class TestTrouble:
    @pytest.mark.parametrize("body", [BODY, b"{"], ids=["good", "malformed"])
    @pytest.mark.parametrize(
        "trouble",
        [TryLater("the disk is full", after_s=60), NeedsPerson("the tables are missing")],
        ids=["full", "not migrated"],
    )
    def test_a_failing_store_is_503_and_works_again(
        self, server: Server, body: bytes, trouble: Exception
    ):
        server.store.trouble = trouble
        answer = server.post(body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        server.store.trouble = None
        assert server.post(body).status in (202, 400)
        assert server.store.read("g-1").body == body

    def test_a_full_queue_is_503(self, store: Store):
        store.gate.clear()
        with running(store, max_waiting=1) as server:
            statuses: list[int] = []
            first = threading.Thread(target=lambda: statuses.append(server.post().status))
            first.start()
            until(lambda: store.batches == [1])
            second = threading.Thread(
                target=lambda: statuses.append(server.post(x_github_delivery="g-2").status)
            )
            second.start()
            until(lambda: len(server.inbox._waiting) == 1)
            assert server.post(x_github_delivery="g-3").status == 503
            store.gate.set()
            first.join(DEADLINE_S)
            second.join(DEADLINE_S)
        assert statuses == [202, 202]
        assert store.guids() == {"g-1", "g-2"}

    def test_stopping_stores_what_waits(self, store: Store):
        async def story() -> None:
            inbox = Inbox(store)
            await inbox.start()
            delivery = Delivery("g-1", "check_run", "completed", BODY, StoppedClock().now())
            future = inbox.put(delivery)
            await inbox.stop()
            await future
            with pytest.raises(TryLater):
                inbox.put(delivery)

        asyncio.run(story())
        assert store.guids() == {"g-1"}

    def test_killed_at_any_moment_nothing_acknowledged_is_lost(self, tmp_path: Path):
        acknowledged: set[str] = set()
        for life in range(3):
            one_life(tmp_path, f"life-{life}", 10 + 17 * life, acknowledged)
        database = connect("", tmp_path)
        stored = {delivery.guid for delivery in SqlDeliveries(database).waiting(100_000)}
        database.close()
        assert acknowledged <= stored


class TestHealth:
    def test_alive_and_ready(self, server: Server):
        assert server.ask("GET", "/healthz").text == "ok\n"
        ready = server.ask("GET", "/readyz")
        assert ready.status == 200
        assert json.loads(ready.text) == {
            "ready": True,
            "checks": {"database": "ok", "sandbox": "ok"},
        }

    def test_not_ready_says_why(self, server: Server):
        server.reasons["sandbox"] = "bubblewrap is missing"
        ready = server.ask("GET", "/readyz")
        assert ready.status == 503
        assert json.loads(ready.text)["checks"]["sandbox"] == "bubblewrap is missing"
        assert server.ask("GET", "/healthz").status == 200

    def test_metrics_count_what_was_answered(self, server: Server):
        server.post()
        server.post(key="wrong")
        page = server.ask("GET", "/metrics")
        assert 'deliveries_total{event="check_run",outcome="accepted"} 1.0' in page.text
        assert 'deliveries_total{event="check_run",outcome="unsigned"} 1.0' in page.text
        assert page.headers["content-type"].startswith("text/plain; version=")

    def test_another_path_is_404(self, server: Server):
        assert server.ask("GET", "/").status == 404


def one_life(folder: Path, name: str, enough: int, acknowledged: set[str]) -> None:
    """Run the real server over *folder* and kill it once *enough* more were acknowledged."""
    command = [sys.executable, "-m", "tests.benchmarks.server", "product", str(folder), SECRET]
    before = len(acknowledged)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        writers = [
            threading.Thread(target=send_until_cut, args=(port, f"{name}-{n}", acknowledged))
            for n in range(4)
        ]
        for writer in writers:
            writer.start()
        try:
            until(lambda: len(acknowledged) >= before + enough)
        finally:
            process.send_signal(signal.SIGKILL)
            for writer in writers:
                writer.join(DEADLINE_S)


def send_until_cut(port: int, name: str, acknowledged: set[str]) -> None:
    """Send deliveries one after the other and note each that was answered 202."""
    signature = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-github-event": "check_run",
        "x-hub-signature-256": f"sha256={signature}",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        for number in range(100_000):
            guid = f"{name}-{number}"
            connection.request(
                "POST", "/webhooks/github", BODY, {**headers, "x-github-delivery": guid}
            )
            response = connection.getresponse()
            response.read()
            if response.status == 202:
                acknowledged.add(guid)
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()
