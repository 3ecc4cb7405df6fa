"""Row 41: somebody forges our hidden marker, to count attempts up or down.

Control: only comments that GitHub says our App wrote count (`Comment.mine`, by its numeric id). Off
(the same words by our App), they count.
"""

import pytest

from bot.domain import effects
from bot.domain.runs import RunState
from bot.repair import attempts
from tests.support.pulls import a_comment
from tests.support.stories import PULL, World

MARK = "<!-- regreen attempt=9 trigger=pr-7-aaaaaaaaaaaa run=r9 -->"
BODY = f"### Regreen · attempt 9: working on `test`\n{MARK}\n"
FORGED = {
    "a person": {"author": "mallory", "author_id": 9},
    "a person with our login": {"author": "regreen[bot]", "author_id": 9},
    "a person through our App": {"author": "mallory", "author_id": 99},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_users_marker_is_ignored(forged):
    comment = a_comment(BODY, mine=False, **forged)
    assert attempts.count([comment]) == 0
    assert attempts.live([comment]) == ()


def test_by_our_app_it_counts():
    assert attempts.count([a_comment(BODY)]) == 9


@pytest.mark.parametrize("mine", [False, True])
def test_a_forged_count_does_not_hurry_the_run(mine):
    world = World(comments=[a_comment(BODY, id=50, mine=mine, author="regreen[bot]")])
    world.play()
    (attempt,) = world.run.attempts
    assert attempt.number == (10 if mine else 1)
    assert world.run.pull == PULL
    assert world.state() is RunState.WAITING_CI
    assert [one.comment for one in world.made(effects.Comment)][:1] == [0]


def test_a_forged_marker_at_github_counts_for_nothing(bot, github, model):
    pull = github.open_pull({"README.md": "# Widgets.\n"})
    pull.says(BODY, by="stranger")
    bot.settle()
    assert pull.attempts() == []
    assert pull.bodies() == []
