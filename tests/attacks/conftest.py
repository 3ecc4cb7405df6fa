"""The stage of the stories, for attacks that need the whole road."""

import pytest

from tests.scenarios.conftest import bot, github, model, postgres, stages, the_stage

__all__ = ["bot", "github", "model", "postgres", "stages", "the_stage"]


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the attacks that play on the stage in one worker: starting it costs seconds."""
    for item in items:
        if "/attacks/" in str(item.path) and "the_stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("attacks"))
