"""Killed with SIGKILL before and after each call that changes something: the end is the same."""

import re
from collections import Counter
from pathlib import Path

import pytest

from bot.simulator.model import ScriptedModel
from tests.support.ends import (
    HELD,
    LINT,
    MODEL,
    TRIED,
    Owner,
    Story,
    a_shop,
    differences,
    end_of,
    undisturbed,
)
from tests.support.postgres import postgres, postgres_url  # noqa: F401 - fixtures
from tests.support.running import Regreen

GITHUB = ("comments.post", "comments.edit", "checks.show", "trees.push")
WORK = ("backends.run", "gatekeeper.record", "trees.commit")
STORE = ("runs.save", "runs.advance", "runs.bump")
INBOX = ("deliveries.accept", "deliveries.settle")


def killed_all_along(folder: Path, story: Story, calls: tuple[str, ...], url: str = ""):
    """Play a story on a server that dies at each of *calls*; return its end and the deaths."""
    ledger = folder / "deaths"
    program = ("tests.support.victim", str(ledger), *calls)
    with a_shop(folder, pushes=story.pushes) as github, ScriptedModel() as model:
        owner = Owner(github)
        server = Regreen(
            folder / "server",
            github,
            model,
            config=story.config,
            program=program,
            database_url=url,
        )
        try:
            server.start()
            number = story.tell(github, model)

            def green() -> bool:
                owner.redeliver()
                return story.ended(github, server, number)

            server.wait_for(green, 240, "green")
            server.settle()
            return end_of(github, server, number), ledger.read_text().splitlines()
        finally:
            server.stop()


def check_deaths(deaths: list[str], calls: tuple[str, ...], never: tuple[str, ...] = ()):
    """Every planned call killed, before it and after it."""
    print(f"{len(deaths)} kills")  # noqa: T201 - shown by pytest -s
    assert len(set(deaths)) == len(deaths)
    kinds = Counter(re.sub(r" .*", "", death) for death in deaths)
    for call in set(calls) - set(never):
        if ":" in call:
            assert kinds[call] >= 1
        else:
            assert kinds[f"{call}:before"] >= 1, call
            # A post that was made and not recorded, because its own webhook killed, is not made
            # again: that is the promise, and so nothing is left to be killed after.
            if call != "comments.post" or not set(INBOX) & set(calls):
                assert kinds[f"{call}:after"] >= 1, call


def test_a_lint_repair_ends_the_same_wherever_it_is_killed_on_sqlite(tmp_path):
    calls = (*GITHUB, *WORK, *STORE, *INBOX)
    end, deaths = killed_all_along(tmp_path, LINT, calls)
    assert differences(end, undisturbed(LINT)) == []
    check_deaths(deaths, calls, never=("runs.advance", "runs.bump"))


@pytest.mark.thorough
def test_a_lint_repair_ends_the_same_wherever_it_is_killed_on_postgresql(tmp_path, postgres_url):  # noqa: F811
    calls = (*GITHUB, *WORK, *STORE)
    end, deaths = killed_all_along(tmp_path, LINT, calls, postgres_url)
    assert differences(end, undisturbed(LINT)) == []
    check_deaths(deaths, calls, never=("runs.advance", "runs.bump"))


@pytest.mark.thorough
def test_a_second_attempt_survives_kills_on_sqlite(tmp_path):
    calls = (*WORK, "runs.save", "comments.edit")  # the others die in the lint repair already
    end, deaths = killed_all_along(tmp_path, MODEL, calls)
    assert differences(end, undisturbed(MODEL)) == []
    check_deaths(deaths, calls)


def test_a_second_attempt_survives_kills_on_postgresql(tmp_path, postgres_url):  # noqa: F811
    calls = tuple(
        f"{call}:after"
        for call in ("comments.post", "lanes.update", "backends.run", "runs.save", "trees.push")
    )
    end, deaths = killed_all_along(tmp_path, MODEL, calls, postgres_url)
    assert differences(end, undisturbed(MODEL)) == []
    check_deaths(deaths, calls)


def test_what_was_planned_and_approved_goes_out_once_wherever_it_is_killed(tmp_path):
    calls = ("backends.consult", "trees.commit", "trees.push", "runs.save:after")
    end, deaths = killed_all_along(tmp_path, HELD, calls)
    assert differences(end, undisturbed(HELD)) == []
    check_deaths(deaths, calls)
    assert (len(end.trees), end.gates) == (2, ("approved by owner",))
    assert [kind for kind in end.audit if kind.startswith("approval.")] == [
        "approval.requested",
        "approval.granted",
    ]


@pytest.mark.thorough
def test_a_scratch_branch_is_judged_once_and_gone_wherever_it_is_killed(tmp_path):
    calls = ("trees.offer", "trees.withdraw", "trees.push", "gatekeeper.record:after")
    end, deaths = killed_all_along(tmp_path, TRIED, calls)
    assert differences(end, undisturbed(TRIED)) == []
    check_deaths(deaths, calls)
    assert not [branch for branch in end.branches if "regreen/verify" in branch]
