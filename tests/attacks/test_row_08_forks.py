"""Row 8: a stranger's pull request from a fork has the host run its code.

Control: `machine._work` asks a person first and takes a word for one commit alone. Off (the word is
given), the same pull request is worked on.
"""

import pytest

from bot.domain import effects
from bot.domain.runs import RunState, Wish
from tests.support.scenes import BROKEN, MENDED
from tests.support.stories import OTHER, World, a_pull

WORK = (effects.RunBackend, effects.Verify, effects.Consult, effects.ReadFailures)


def test_no_sandbox_and_no_model_is_begun(bot, github, model):
    model.answers(MENDED)
    before = set(bot.server.data.glob("features/*"))
    pull = github.open_pull(BROKEN, fork=True)
    bot.settle()
    pull.says("/regreen fix", by="stranger")
    bot.settle()

    assert model.calls == []
    assert bot.run(pull).attempts == ()
    assert set(bot.server.data.glob("features/*")) == before
    assert pull.conclusion() == "action_required"


def a_fork() -> World:
    return World(pull=a_pull(head_repo="mallory/shop"))


def worked(world: World) -> bool:
    return any(world.made(kind) for kind in WORK)


@pytest.mark.parametrize("wish", [Wish.LOOK, Wish.RESET, Wish.APPROVE])
def test_nothing_but_a_writers_word_begins_the_work(wish):
    world = a_fork()
    world.play(wish)
    assert not worked(world)


def test_a_word_for_another_commit_is_none():
    world = a_fork()
    world.play(Wish.FIX, by="writer", asked_at=OTHER)
    assert not worked(world)
    assert world.state() is RunState.WAITING_PERSON


def test_with_the_word_it_would_run():
    world = a_fork()
    world.play(Wish.FIX, by="writer")
    assert worked(world)
    assert world.made(effects.Push) == []
