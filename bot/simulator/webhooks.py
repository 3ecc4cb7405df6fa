"""Deliveries: signed, sent in order by one worker, kept with every attempt, and losable on request.

As at GitHub nothing is sent again by itself: what was dropped or refused stays in the list for
`GET /app/hook/deliveries`, and a redelivery keeps its GUID under a new number.
https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

import hashlib
import hmac
import json
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic

import httpx

from bot.simulator.clock import now, stamp
from bot.simulator.state import Json

ANSWER_S = 10.0  # GitHub waits no longer for an answer
OnDelivery = Callable[[str, Json], None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery attempt; `status_code` 0 means that no answer came."""

    id: int
    guid: str
    event: str
    action: str | None
    payload: Json
    installation: int | None
    repository: int | None
    redelivery: bool = False
    delivered_at: datetime = field(default_factory=now)
    duration: float = 0.0
    status: str = "pending"
    status_code: int = 0
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""


@dataclass(slots=True)
class Switches:
    """What goes wrong on the way: rates from 0 to 1, and a stop."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    paused: bool = False


class Outbox:
    """The queue of deliveries and the thread that sends them."""

    def __init__(
        self, target: int, *, url: str, secret: str, seed: int, observer: OnDelivery | None
    ) -> None:
        self.target, self.url, self.secret = target, url, secret
        self.switches = Switches()
        self.attempts: list[Attempt] = []
        self._observer = observer
        self._random = random.Random(seed)  # noqa: S311 - repeatable trouble, not secrets
        self._waiting: list[Attempt] = []
        self._sending = 0
        self._number = 1
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="deliveries", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the delivery at hand."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def post(
        self, event: str, payload: Json, *, installation: int | None, repository: int | None
    ) -> None:
        """Queue one event; without an address it is only shown to the observer."""
        body = json.loads(json.dumps(payload))  # as it is now, whatever changes later
        if self._observer is not None:
            self._observer(event, body)
        guid, action = str(uuid.uuid4()), body.get("action")
        with self._changed:
            if self.url:
                self._queue(Attempt(0, guid, event, action, body, installation, repository))

    def redeliver(self, number: int) -> bool:
        """Queue an old delivery again under its GUID; False when it is not known."""
        with self._changed:
            found = next((a for a in self.attempts if a.id == number), None)
            if found is not None:
                self._queue(replace(found, redelivery=True))
            return found is not None

    def _queue(self, attempt: Attempt) -> None:
        self._waiting.append(replace(attempt, id=self._number))
        self._number += 1
        self._changed.notify_all()

    def set(self, switches: Switches) -> None:
        """Change what goes wrong from now on."""
        with self._changed:
            self.switches = switches
            self._changed.notify_all()

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is on its way."""
        with self._changed:
            return not self._waiting and not self._sending

    def _work(self) -> None:
        with httpx.Client(timeout=ANSWER_S, trust_env=False) as client:
            while (attempt := self._next()) is not None:
                copies = 1 + (self._random.random() < self.switches.duplicate)
                if not attempt.redelivery and self._random.random() < self.switches.drop:
                    lost = replace(attempt, status="failed to connect to host", delivered_at=now())
                    self._record(lost)
                else:
                    for _ in range(copies):
                        self._record(self._send(client, attempt))
                with self._changed:
                    self._sending = 0

    def _next(self) -> Attempt | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or (self._waiting and not self.switches.paused)
            )
            if self._closing:
                return None
            late = self._random.random() < self.switches.reorder
            self._sending = 1
            return self._waiting.pop(self._random.randrange(len(self._waiting)) if late else 0)

    def _record(self, attempt: Attempt) -> None:
        with self._changed:
            self.attempts.append(attempt)

    def _send(self, client: httpx.Client, attempt: Attempt) -> Attempt:
        body = json.dumps(attempt.payload, separators=(",", ":")).encode()
        headers = self._headers(attempt, body)
        sent = replace(attempt, request_headers=headers, delivered_at=now())
        began = monotonic()
        try:
            answer = client.post(self.url, content=body, headers=headers)
        except httpx.TimeoutException:
            return replace(sent, status="timed out", duration=ANSWER_S)
        except httpx.HTTPError:
            return replace(sent, status="failed to connect to host")
        return replace(
            sent,
            duration=round(monotonic() - began, 2),
            status="OK" if answer.is_success else f"Invalid HTTP Response: {answer.status_code}",
            status_code=answer.status_code,
            response_headers=dict(answer.headers),
            response_body=answer.text,
        )

    def _headers(self, attempt: Attempt, body: bytes) -> dict[str, str]:
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/simulated",
            "X-GitHub-Delivery": attempt.guid,
            "X-GitHub-Event": attempt.event,
            "X-GitHub-Hook-ID": str(self.target),
            "X-GitHub-Hook-Installation-Target-ID": str(self.target),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": f"sha256={signature}",
        }


def item(attempt: Attempt) -> Json:
    """Build a delivery as `GET /app/hook/deliveries` lists it."""
    return {
        "id": attempt.id,
        "guid": attempt.guid,
        "delivered_at": stamp(attempt.delivered_at),
        "redelivery": attempt.redelivery,
        "duration": attempt.duration,
        "status": attempt.status,
        "status_code": attempt.status_code,
        "event": attempt.event,
        "action": attempt.action,
        "installation_id": attempt.installation,
        "repository_id": attempt.repository,
        "throttled_at": None,
    }


def full_item(attempt: Attempt, url: str) -> Json:
    """Build a delivery with what was sent and answered."""
    return {
        **item(attempt),
        "url": url,
        "request": {"headers": attempt.request_headers, "payload": attempt.payload},
        "response": {"headers": attempt.response_headers, "payload": attempt.response_body},
    }
