"""Is this body from GitHub? HMAC-SHA256 over the raw bytes, compared in constant time.

Two secrets may be live while one is being replaced. The older SHA-1 header is never read.
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

import hmac
from collections.abc import Sequence

PREFIX = b"sha256="


def sign(secret: bytes, body: bytes) -> bytes:
    """Return the value of `X-Hub-Signature-256` for *body*."""
    return PREFIX + hmac.digest(secret, body, "sha256").hex().encode()


def genuine(secrets: Sequence[bytes], body: bytes, signature: bytes) -> bool:
    """Return whether one of *secrets* signed *body*; an empty secret never does."""
    return any(hmac.compare_digest(sign(secret, body), signature) for secret in secrets if secret)
