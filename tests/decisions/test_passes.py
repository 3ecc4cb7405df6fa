"""What a durable pass begins with, and which pull requests an event is about."""

from collections.abc import Sequence

import msgspec
import pytest

from bot.config.schema import Policy
from bot.domain.errors import Gone
from bot.domain.events import ChecksChanged, Swept
from bot.domain.runs import RunState
from bot.domain.values import Pull, PullRef
from bot.runtime.facts import about
from bot.runtime.workflows import Opening
from bot.store.memory import MemoryRuns
from tests.support.pulls import HEAD, OTHER, REF, a_pull, a_run

SIBLING = PullRef(REF.repo, REF.number + 1)


class Listed:
    """Pull requests of one repository; None when it is gone."""

    def __init__(self, pulls: Sequence[Pull] | None) -> None:
        self._pulls = pulls

    def open(self, repo: str) -> Sequence[Pull]:
        if self._pulls is None:
            raise Gone(repo)
        return self._pulls

    def read(self, ref: PullRef) -> Pull:
        raise Gone(str(ref))


def test_checks_that_name_no_pull_request_are_about_every_one_with_their_head():
    event = ChecksChanged(REF.repo, HEAD, "lint", red=True)
    others = a_pull(ref=PullRef(REF.repo, 99), head=OTHER)
    found = about(event, Listed([a_pull(), a_pull(ref=SIBLING), others]), MemoryRuns())
    assert found == tuple(msgspec.structs.replace(event, pull=ref) for ref in (REF, SIBLING))


@pytest.mark.parametrize("pulls", [[], None], ids=["none", "gone"])
def test_checks_of_no_pull_request_stay_as_they_are(pulls):
    event = ChecksChanged(REF.repo, HEAD, "lint", red=True)
    assert about(event, Listed(pulls), MemoryRuns()) == (event,)


def test_a_base_branch_that_is_green_again_is_about_those_that_wait_for_it():
    runs = MemoryRuns()
    runs.save(a_run(state=RunState.WAITING_BASE))
    mended = ChecksChanged(REF.repo, OTHER, "lint", red=False)
    assert about(mended, Listed([a_pull()]), runs) == (Swept(REF),)
    broken = msgspec.structs.replace(mended, red=True)
    assert about(broken, Listed([a_pull()]), runs) == (broken,)


def test_other_events_name_their_pull_request():
    assert about(Swept(REF), Listed(None), MemoryRuns()) == (Swept(REF),)


@pytest.mark.parametrize(
    ("stopped", "newest", "stopping"),
    [
        pytest.param(0, None, False, id="nobody said stop"),
        pytest.param(2, None, True, id="before any run"),
        pytest.param(2, a_run(generation=1), True, id="it waits for its turn"),
        pytest.param(2, a_run(generation=1, state=RunState.SUPERSEDED), True, id="the work fell"),
        pytest.param(2, a_run(generation=2, state=RunState.STOPPED), False, id="it was obeyed"),
        pytest.param(2, a_run(generation=5), False, id="long ago"),
    ],
)
def test_nothing_begins_while_a_stop_waits_for_its_turn(stopped, newest, stopping):
    """A look that was queued before the stop would otherwise mend and push after it."""
    assert Opening(Policy(), 5, newest, stopped).stopping is stopping
