"""Without a sandbox every report says so, and with one none does."""

import pytest

from bot.repair.messages import UNPROTECTED
from tests.support.running import DRIVER
from tests.support.scenes import UNLINTED


@pytest.mark.parametrize(
    ("the_stage", "warned"),
    [("unprotected", True), ("usual", DRIVER == "none")],
    indirect=["the_stage"],
)
def test_reports_warn(bot, github, model, warned):
    pull = github.open_pull(UNLINTED)
    red = pull.head
    bot.settle()

    assert "import os" not in pull.file()
    reports = [
        *pull.bodies(),
        pull.card(red)["output"]["summary"],
        pull.card()["output"]["summary"],
    ]
    assert len(reports) >= 3
    assert {UNPROTECTED.strip() in report for report in reports} == {warned}
