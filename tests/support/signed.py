"""Deliveries posted as GitHub would post them: signed, under a GUID of their own."""

import hashlib
import hmac
import json
import uuid
from typing import Any

import httpx


def post(client: httpx.Client, url: str, secret: str, event: str, payload: Any) -> httpx.Response:
    """Post *payload* as a delivery of *event* and return the answer."""
    body = json.dumps(payload).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return client.post(f"{url}/webhooks/github", content=body, headers=headers)
