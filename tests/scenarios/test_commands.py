# ruff: noqa: E501 (what people read is quoted whole)
"""People give orders: who may, what each does, and what is said."""

import pytest
from inline_snapshot import snapshot

from tests.support.scenes import AREA, BROKEN, MENDED, REPO, TIDY, a_try, edit, plain
from tests.support.simulated import client

PRODUCTION = pytest.mark.parametrize("the_stage", ["production"], indirect=True)
LEAK = edit(
    "    return side + side",
    '    key = "AKIA' + 'Q3EGRVXNKWYZ4T7P"\n    return side * side',
)


def test_help_lists_the_commands(bot, github):
    pull = github.open_pull(TIDY)
    command = pull.says("/regreen help")
    bot.settle()

    assert pull.reactions(command) == ["+1"]
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
People with write permission can give these commands in a comment:

- `/regreen help`: show this list
- `/regreen status`: say where the repair stands
- `/regreen fix`: try to mend this pull request now; on a fork this approves the commit it is at
- `/regreen retry`: try again, also after Regreen gave up, was stopped or waits for a person
- `/regreen stop`: stop the repair
- `/regreen reset`: set the attempt count back to zero
- `/regreen approve`: let out the change that waits; the commit that it goes onto may follow
- `/regreen reject`: throw away the change that waits; a reason may follow
- `/regreen explain`: say what was decided, by what, and why
- `/regreen plan`: show the plan and how it changed

<!-- regreen reply to=N -->\
"""
        ]
    )


def test_status_says_where_the_repair_stands(bot, github, model):
    model.answers(LEAK)
    pull = github.open_pull(BROKEN)
    bot.settle()
    command = pull.says("/regreen status", by="writer")
    bot.settle()

    assert pull.reactions(command) == ["eyes"]
    assert plain(pull.bodies()[-1]) == snapshot("""\
**Regreen is waiting for a person.** the proposed change was stopped: widgets/area.py: looks like a secret: AWS key id, AKIA…

- run `RUN`, begun WHEN UTC
- looked at commit SHORT
- attempt 1: escalated by `primary`, the proposed change was stopped: widgets/area.py: looks like a secret: AWS key id, AKIA…

<!-- regreen reply to=N -->\
""")


def test_a_word_that_is_no_command_is_answered_with_the_list(bot, github):
    pull = github.open_pull(TIDY)
    command = pull.says("/regreen deploy @everyone")
    bot.settle()

    assert pull.reactions(command) == ["confused"]
    assert pull.bodies()[-1].startswith("There is no command deploy.")


@PRODUCTION
def test_in_production_nothing_happens_until_a_person_asks(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()
    assert (model.calls, pull.bodies(), pull.cards()) == ([], [], [])

    command = pull.says("/regreen fix", by="writer")
    bot.settle()

    assert pull.reactions(command) == ["rocket"]
    assert pull.file() == AREA
    assert pull.conclusion() == "success"


@pytest.mark.parametrize("who", ["stranger", "reader"])
@PRODUCTION
def test_who_may_not_write_may_not_command(bot, github, model, who):
    pull = github.open_pull(BROKEN)
    words = ("fix", "retry", "stop", "reset", "status", "help")
    given = [pull.says(f"/regreen {word}", by=who) for word in words]
    bot.settle()

    assert [pull.reactions(command) for command in given] == [["-1"]] * len(words)
    assert (model.calls, pull.bodies(), pull.cards()) == ([], [], [])


@PRODUCTION
def test_an_edited_comment_is_no_command(bot, github, model):
    pull = github.open_pull(BROKEN)
    bot.settle()
    github.sim.switch(paused=True)
    try:
        command = pull.says("/regreen fix")
        with client(github.sim, github.sim.tokens["owner"]) as owner:
            path = f"/repos/{REPO}/issues/comments/{command}"
            assert owner.patch(path, json={"body": "/regreen stop"}).is_success
    finally:
        github.sim.switch(paused=False)
    bot.settle()

    assert pull.reactions(command) == ["confused"]
    assert (model.calls, pull.bodies(), pull.cards()) == ([], [], [])


def test_retry_has_it_try_again_after_it_waited_for_a_person(bot, github, model):
    model.answers(LEAK, MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()
    assert pull.conclusion() == "action_required"

    pull.says("/regreen retry")
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == snapshot(
        [
            "### Regreen · attempt 1: a person is needed for `test`",
            "### Regreen · attempt 2: `test` green again",
        ]
    )


def test_stop_ends_it_until_somebody_asks_again(bot, github, model):
    model.answers(LEAK, MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()
    command = pull.says("/regreen stop", by="writer")
    bot.settle()
    assert pull.reactions(command) == ["+1"]
    assert pull.conclusion() == "neutral"
    assert pull.card()["output"]["title"] == "writer asked: /regreen stop"

    github.sim.fail_check(pull.repo, pull.number, "test again", "AssertionError: 6 != 9")
    bot.settle()
    assert len(model.calls) == 1

    pull.says("/regreen fix")
    bot.settle()
    assert len(model.calls) == 2


def test_the_buttons_do_what_the_commands_do(bot, github, model):
    model.answers(LEAK, a_try(1), MENDED)
    pull = github.open_pull(BROKEN)
    red = pull.head
    bot.settle()
    assert pull.conclusion() == "action_required"

    pull.press("Stop", by="writer")
    bot.settle()
    assert pull.conclusion() == "neutral"

    pull.press("Fix", by="stranger")
    bot.settle()
    assert len(model.calls) == 1

    pull.press("Fix", by="owner")
    bot.settle()
    assert pull.file() == AREA
    assert pull.conclusion(red) == "neutral"
    assert pull.conclusion() == "success"


def test_the_re_run_button_tries_again(bot, github, model):
    model.answers(LEAK, MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()
    pull.press("Re-run")
    bot.settle()

    assert pull.file() == AREA
