"""The pull request goes on while a repair is at work."""

from bot.simulator.model import Reply
from tests.support.scenes import AREA, BROKEN, MENDED, REPO, plain

SLOW = Reply(text=MENDED, delay_s=60.0)


def mended_by_hand() -> dict[str, str]:
    return {"widgets/area.py": AREA.replace("side * side", "side**2")}


def test_a_new_head_supersedes_the_work(bot, github, model):
    model.answers(SLOW)
    pull = github.open_pull(BROKEN)
    red = pull.head
    bot.wait_for(lambda: model.calls, "the model to be asked")
    new = pull.push(mended_by_hand())
    bot.settle(timeout_s=40.0)

    assert pull.head == new
    assert [one["author"] for one in pull.commits()] == ["owner", "owner"]
    assert pull.attempts() == ["### Regreen · attempt 1: work on `test` was superseded"]
    assert pull.conclusion(red) == "neutral"
    assert len(model.calls) == 1


def test_a_closed_pull_request_ends_the_work(bot, github, model):
    model.answers(SLOW)
    pull = github.open_pull(BROKEN)
    red = pull.head
    bot.wait_for(lambda: model.calls, "the model to be asked")
    pull.close()
    bot.settle(timeout_s=40.0)

    assert pull.head == red
    assert "superseded" in pull.attempts()[0]
    assert pull.conclusion(red) == "neutral"


def test_a_deleted_branch_ends_the_work(bot, github, model):
    model.answers(SLOW)
    pull = github.open_pull(BROKEN, branch="doomed")
    red = pull.head
    bot.wait_for(lambda: model.calls, "the model to be asked")
    github.sim.move_branch(REPO, "doomed", None)
    bot.settle(timeout_s=40.0)

    assert "superseded" in pull.attempts()[0]
    assert pull.conclusion(red) == "neutral"


def test_stop_ends_the_work_at_once(bot, github, model):
    model.answers(SLOW)
    pull = github.open_pull(BROKEN)
    bot.wait_for(lambda: model.calls, "the model to be asked")
    pull.says("/regreen stop")
    bot.settle(timeout_s=40.0)

    assert "superseded" in pull.attempts()[0]
    assert pull.conclusion() == "neutral"
    assert len(pull.commits()) == 1


def test_a_head_that_moves_just_before_the_push_is_not_overwritten(bot, github, model):
    """No delivery tells of it: only the lease of the push can see it."""
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, branch="moving")
    red = pull.head
    bot.wait_for(pull.attempts, "the attempt to begin")
    github.sim.switch(paused=True)
    try:
        new = pull.push({"README.md": "# Moved\n"})
        bot.wait_for(lambda: pull.conclusion(red) == "neutral", "the run to end")
    finally:
        github.sim.switch(paused=False)
    assert "superseded" in pull.attempts()[0]
    bot.settle()

    assert new in [one["sha"] for one in pull.commits()]
    assert [one["message"].splitlines()[0] for one in pull.commits()][1] == "Another change"
    assert pull.file() == AREA


def test_our_own_push_is_not_taken_for_anothers(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    (told,) = pull.bodies()
    assert "superseded" not in told
    runs = bot.server.rows(
        f"SELECT state FROM runs WHERE repo = '{REPO}' AND number = {pull.number}"
    )
    assert [run.state for run in runs] == ["green"]


def test_a_person_may_push_again_after_a_mend(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()
    pull.push(BROKEN)
    bot.settle()

    assert pull.file() == AREA
    assert [plain(line) for line in pull.attempts()] == [
        "### Regreen · attempt 1: `test` green again",
        "### Regreen · attempt 1: `test` green again",
    ]
