"""What holds for every test."""

import pytest
from hypothesis import settings

# No property is a matter of time: the machine may be busy.
settings.register_profile("regreen", deadline=None)
settings.load_profile("regreen")

SLOW = ("/durability/", "/scenarios/", "/acceptance/")  # they mostly wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for others, so that the quick tests fill the time beside it."""
    items.sort(key=lambda item: not any(part in str(item.path) for part in SLOW))
