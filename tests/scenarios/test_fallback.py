"""Three wrong attempts, and then the fallback: counted where people see it, in the comments."""

import os
import tomllib
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from tests.support.scenes import BROKEN, MENDED, TIDY, Bot, Github, Model, a_try, stage

ANY_DATABASE = pytest.mark.parametrize("the_stage", ["usual", "postgres"], indirect=True)
NO_FALLBACK = pytest.mark.parametrize("the_stage", ["no fallback"], indirect=True)
WRONG = (a_try(1), a_try(2), a_try(3))


def switched(pull, attempt: int = 3) -> str:
    return f"Switched to fallback backend for PR #{pull.number} (attempt {attempt})"


def marked(pull, number: int) -> str:
    return f"<!-- regreen attempt={number} trigger=pr-{pull.number}-{'a' * 12} run=forged -->"


@ANY_DATABASE
def test_after_three_wrong_attempts_the_fallback_mends_it(bot, github, model):
    model.answers(*WRONG)
    model.fallback_answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert model.asked == ["scripted-primary"] * 3 + ["scripted-fallback"]
    assert switched(pull) in bot.log
    assert "Using fallback backend: scripted-fallback" in bot.log
    assert pull.attempts() == snapshot(
        [
            "### Regreen · attempt 1: no fix for `test` yet",
            "### Regreen · attempt 2: no fix for `test` yet",
            "### Regreen · attempt 3: no fix for `test` yet",
            "### Regreen · attempt 4: `test` green again",
        ]
    )
    assert pull.conclusion() == "success"


@NO_FALLBACK
def test_without_a_fallback_nothing_changes(bot, github, model):
    model.answers(*WRONG)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert model.asked == ["scripted-primary"] * 3
    assert "fallback" not in bot.log
    assert pull.attempts() == snapshot(
        [
            "### Regreen · attempt 1: no fix for `test` yet",
            "### Regreen · attempt 2: no fix for `test` yet",
            "### Regreen · attempt 3: giving up on `test`",
        ]
    )
    assert pull.conclusion() == "action_required"


def test_the_count_is_read_from_all_pages_of_comments(bot, github, model):
    model.fallback_answers(MENDED)
    pull = github.open_pull(TIDY)
    for number in range(120):
        pull.says(f"What about case {number}?", by="stranger")
    pull.says_as_the_app(f"Regreen was here in an earlier life.\n{marked(pull, 3)}")
    bot.settle()
    pull.push(BROKEN)
    bot.settle()

    assert model.asked == ["scripted-fallback"]
    assert switched(pull) in bot.log
    assert pull.attempts() == snapshot(["### Regreen · attempt 4: `test` green again"])


def test_deleting_the_attempts_comments_lowers_the_count(bot, github, model):
    model.answers(*WRONG, MENDED)
    model.fallback_answers("Not asked in this story.")
    pull = github.open_pull(BROKEN)
    bot.wait_for(lambda: len(pull.attempts()) >= 2, "a second attempt")
    pull.says("/regreen stop")
    bot.settle()
    for one in github.sim.comments(pull.repo, pull.number):
        if "· attempt" in one["body"]:
            github.sim.delete_comment(pull.repo, one["id"])
    before = len(model.calls)
    pull.says("/regreen retry")
    bot.settle()

    assert model.asked[before:]
    assert set(model.asked) == {"scripted-primary"}
    assert pull.attempts()[0].startswith("### Regreen · attempt 1:")
    assert pull.conclusion() == "success"


def test_a_reset_sets_the_count_back(bot, github, model):
    model.answers(MENDED)
    model.fallback_answers("I give up.", "I still give up.")
    pull = github.open_pull(TIDY)
    pull.says_as_the_app(f"Regreen was here in an earlier life.\n{marked(pull, 3)}")
    bot.settle()

    command = pull.says("/regreen reset")
    bot.settle()
    pull.push(BROKEN)
    bot.settle()

    assert pull.reactions(command) == ["+1"]
    assert model.asked == ["scripted-primary"]
    assert pull.attempts() == snapshot(["### Regreen · attempt 1: `test` green again"])


def test_a_forged_marker_of_a_user_does_not_count(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    pull.says(f"Look:\n{marked(pull, 9)}", by="stranger")
    pull.says(f"### Regreen · attempt 9\n{marked(pull, 9)}\n", by="owner")
    pull.says("Auto-Coder Attempt: 9", by="owner")
    bot.settle()

    assert model.asked == ["scripted-primary"]
    assert pull.attempts() == snapshot(["### Regreen · attempt 1: `test` green again"])


def test_the_same_trigger_never_counts_twice(bot, github, model):
    model.answers(MENDED)
    github.sim.switch(duplicate=1.0)
    try:
        pull = github.open_pull(BROKEN)
        bot.settle()
    finally:
        github.sim.switch(duplicate=0.0)
    about = [one for one in github.sim.deliveries() if one.event in ("check_run", "pull_request")]
    for one in about[-12:]:
        github.sim.redeliver(one.id)
    bot.settle()

    assert len(model.calls) == 1
    assert len(pull.attempts()) == 1
    assert len(pull.commits()) == 2
    assert len(pull.cards()) == 1


def seed_blocks() -> list[str]:
    root = os.environ.get("REGREEN_SHARED")  # noqa: TID251 - where the seeds are, if anywhere
    if not root:
        return []
    text = (Path(root) / "seeds" / "0-auto-coder-migration-guide.txt").read_text()
    return [part.split("```")[0] for part in text.split("```toml\n")[1:]]


SPEED = """
[regreen]
settle_s = 0.2
write_pause_s = 0.0

[retry]
rejected_base_s = 0.2
base_s = 0.1
jitter = false

[sandbox]
driver = "{driver}"
"""


@pytest.mark.skipif(not seed_blocks(), reason="the migration guide is not here: REGREEN_SHARED")
def test_the_first_block_of_the_migration_guide_switches():
    """Its one backend is the fallback: three attempts find nobody, then it does the work."""
    block = seed_blocks()[0]
    assert "backends" not in tomllib.loads(block)
    with stage(block + SPEED, AUTO_CODER_OPENAI_BASE_URL="{model}") as here:
        github, model, bot = Github(here, "block one"), Model(here, "block one"), Bot(here, 0)
        model.will_answer("gemini-2.5-flash", MENDED)
        pull = github.open_pull(BROKEN)
        bot.settle()

        assert pull.attempts() == snapshot(
            [
                "### Regreen · attempt 1: no fix for `test` yet",
                "### Regreen · attempt 2: no fix for `test` yet",
                "### Regreen · attempt 3: no fix for `test` yet",
                "### Regreen · attempt 4: `test` green again",
            ]
        )
        assert model.asked == ["gemini-2.5-flash"]
        assert switched(pull) in bot.log
        assert "Using fallback backend: gemini-2.5-flash" in bot.log
        assert pull.conclusion() == "success"
        here.conformance.check()


@pytest.mark.skipif(not seed_blocks(), reason="the migration guide is not here: REGREEN_SHARED")
def test_the_second_block_of_the_migration_guide_switches():
    with stage(
        seed_blocks()[1] + SPEED,
        AUTO_CODER_QWEN_OPENAI_BASE_URL="{model}",
        AUTO_CODER_OPENAI_BASE_URL="{model}",
    ) as here:
        github, model, bot = Github(here, "block two"), Model(here, "block two"), Bot(here, 0)
        model.will_answer("qwen3-coder-plus", *WRONG)
        model.will_answer("gemini-2.5-pro", "Not asked: the first backend answers.")
        model.will_answer("gemini-2.5-flash", MENDED)
        pull = github.open_pull(BROKEN)
        bot.settle()

        assert model.asked == ["qwen3-coder-plus"] * 3 + ["gemini-2.5-flash"]
        assert switched(pull) in bot.log
        assert "Using fallback backend: gemini-2.5-flash" in bot.log
        assert pull.conclusion() == "success"
        here.conformance.check()
