"""Errors to Sentry, if the operator gave an address; without secrets, bodies or local variables."""

from collections.abc import Sequence
from typing import cast

import sentry_sdk
from sentry_sdk.transport import Transport
from sentry_sdk.types import Event, Hint

from bot.domain.values import Secret
from bot.telemetry.redact import redactor


def configure(
    dsn: str,
    *,
    environment: str,
    release: str,
    secrets: Sequence[Secret] = (),
    transport: Transport | None = None,
) -> bool:
    """Start reporting errors; return False, having done nothing, without a *dsn*."""
    if not dsn:
        return False
    redact = redactor(secrets)

    def scrub(event: Event, _hint: Hint) -> Event:
        return cast("Event", redact(event))

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        transport=transport,
        before_send=scrub,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_enabling_integrations=False,
    )
    return True
