# ruff: noqa: E501 (what people read is quoted whole)
"""Backends fail: others step in, nothing counts that should not, people read what is going on."""

import json

from inline_snapshot import snapshot

from bot.simulator.model import Reply
from tests.support.running import CONFIG, command
from tests.support.scenes import AREA, BROKEN, MENDED, Bot, Github, Model, plain, stage

BACKEND = """
[backends.{name}]
backend_type = "openai"
model = "scripted-{name}"
base_url = "{{model}}"
api_key = "not-a-key"
max_retries = 0
"""


def backends(*names: str) -> str:
    """Return a configuration with these backends in their order, and no fallback."""
    order = f"[backend]\norder = {json.dumps(names)}\n"
    rest = "[regreen]" + CONFIG.partition("[regreen]")[2]
    return order + "".join(BACKEND.format(name=name) for name in names) + rest


def limited(seconds: int) -> Reply:
    return Reply(status=429, text="slow down", headers={"Retry-After": str(seconds)})


def lines(pull) -> list[str]:
    """Return what the bot said, line by line."""
    return [plain(line) for line in pull.said().splitlines()]


def told(pull, words: str) -> list[str]:
    """Return the lines that hold these words."""
    return [line for line in lines(pull) if words in line]


def test_a_refused_key_and_a_limit_are_told_and_the_third_backend_mends():
    with stage(backends("locked", "busy", "ready")) as here:
        github, model, bot = Github(here, "three of them"), Model(here, "three"), Bot(here, 0)
        here.model.will_answer("scripted-locked", Reply(status=401, text="Incorrect API key"))
        here.model.will_answer("scripted-busy", limited(900))
        here.model.will_answer("scripted-ready", MENDED)
        pull = github.open_pull(BROKEN, title="three")
        bot.settle()

        assert model.asked == ["scripted-locked", "scripted-busy", "scripted-ready"]
        assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
        assert pull.conclusion() == "success"
        (locked,) = told(pull, "⏭️ `locked`")
        assert "auth (its key is refused: give it another): locked: " in locked
        (busy,) = told(pull, "⏭️ `busy`")
        assert "rate limited" in busy

        second = github.open_pull(BROKEN, title="three and more")
        bot.settle()
        assert second.conclusion() == "success"
        assert model.asked[3:] == ["scripted-ready"], "who rests is not asked"
        second.says("/regreen explain")
        bot.settle()
        (chose,) = [line for line in second.bodies()[-1].splitlines() if "chose: " in line]
        assert "chose: ready works: the strategy is intelligent_primary_secondary" in chose
        assert "busy does not: rests until" in chose
        assert bot.metric('backend_available{lane="busy"}') == 0.0
        assert bot.metric('backend_available{lane="ready"}') == 1.0
        assert bot.metric('backend_switches_total{trigger="immediate"}') >= 1.0

        shown = json.loads(command(bot.server, "routing", "--json"))
        (tier,) = shown["tiers"]
        lanes = {lane["key"]: lane for lane in tier["lanes"]}
        assert (tier["standing"], tier["next"]) == ("ready", "ready")
        assert (lanes["busy"]["fitness"], lanes["busy"]["rest"]["cause"]) == (
            "resting",
            "rate_limited",
        )
        assert lanes["ready"]["report"]["response_s"] > 0
        assert "works with ready since" in command(bot.server, "routing")
        here.conformance.check()


def test_with_none_left_it_waits_says_so_and_goes_on_also_after_a_restart():
    with stage(backends("one", "other")) as here:
        github, model, bot = Github(here, "all gone"), Model(here, "all gone"), Bot(here, 0)
        model.will_answer("scripted-one", limited(12), MENDED)
        down = Reply(status=503, text="overloaded", headers={"Retry-After": "400"})
        model.will_answer("scripted-other", down)
        pull = github.open_pull(BROKEN)
        bot.wait_for(lambda: told(pull, "no backend can be used now"), "the wait to be told")
        assert [line for line in lines(pull) if line.startswith(("- ⏭️", "- ⏳"))] == snapshot(
            [
                "- ⏭️ `one`: rate limited: one: the endpoint answered 429: slow down",
                "- ⏭️ `other`: unavailable: other: the endpoint answered 503: overloaded",
                "- ⏳ no backend can be used now, I try again at HH:MM:SS UTC: one: has failed with this task; rests until HH:MM:SS: rate limited; other: has failed with this task; rests until HH:MM:SS: unavailable",
            ]
        )
        assert pull.attempts() == ["### Regreen · attempt 1: working on `test`"]
        bot.wait_for(lambda: bot.runs(pull), "the run to be stored")
        assert pull.card()["status"] == "in_progress"
        assert model.asked == ["scripted-one", "scripted-other"]

        bot.server.stop()
        bot.server.start()
        rests = bot.server.rows("SELECT key FROM lanes WHERE record LIKE '%rest%until%'")
        assert sorted(row.key for row in rests) == ["one", "other"]
        bot.wait_for(lambda: pull.conclusion() == "success", "the mend")

        assert pull.file() == AREA
        assert model.asked == ["scripted-one", "scripted-other", "scripted-one"]
        assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
        here.conformance.check()
