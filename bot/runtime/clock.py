"""The only clock. Everything else takes the time as an argument or asks this port."""

from datetime import UTC, datetime


class SystemClock:
    """The machine's time in UTC."""

    def now(self) -> datetime:
        """Return the time now."""
        return datetime.now(UTC)
