"""The simulator's only source of time, and GitHub's way to write it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time now, in UTC, to the second, as GitHub keeps it."""
    moment = datetime.now(UTC)  # noqa: TID251 - the simulator is a server of its own: its one clock
    return moment.replace(microsecond=0)


def stamp(moment: datetime) -> str:
    """Write *moment* as GitHub's JSON does, such as `2026-01-02T03:04:05Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_or_none(moment: datetime | None) -> str | None:
    """Write *moment*, or null."""
    return None if moment is None else stamp(moment)
