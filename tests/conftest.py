"""What holds for every test."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# No property is a matter of time: the machine may be busy.
settings.register_profile("regreen", deadline=None)
settings.load_profile("regreen")

# Our own Python comes first for all that is started: a version manager's `python` is often a script
# that looks for one each time, which costs more than the tests of a toy project.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # noqa: TID251

SLOW = ("/durability/", "/scenarios/", "/acceptance/")  # they mostly wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for others, so that the quick tests fill the time beside it."""
    items.sort(key=lambda item: not any(part in str(item.path) for part in SLOW))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a pytest with which xdist groups nothing: it tells nobody, and all would be slow."""
    if not getattr(session.config.option, "loadgroup", False):
        return
    for item in session.items:
        if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
            raise pytest.UsageError(f"xdist does not group {item.nodeid}: another pytest does")
