"""What a full or broken disk means to those who call us: later, it may work."""

from collections.abc import Iterator
from contextlib import contextmanager

from bot.domain.errors import TryLater


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn the errors of the file system into TryLater, which names *what* was to be written."""
    try:
        yield
    except OSError as error:
        raise TryLater(f"{what} cannot be written: {error.strerror}") from error
