"""GitHub, the model or the configuration fails: nothing is lost, nothing is done twice."""

import json

import httpx

from bot.simulator.faults import Kind
from bot.simulator.model import Reply
from bot.simulator.state import Json
from tests.support import signed
from tests.support.scenes import AREA, BROKEN, MENDED, REPO, TIDY, plain


def posted(bot, event: str, payloads: list[Json]) -> list[int]:
    """Post deliveries to the server, one after the other; return the status of each answer."""
    url, secret = bot.server.url, bot.stage.github.webhook_secret
    with httpx.Client() as client:
        answers = [signed.post(client, url, secret, event, payload) for payload in payloads]
    return [answer.status_code for answer in answers]


def post(bot, event: str, payload: Json) -> int:
    """Post a delivery to the server; return the status of its answer."""
    return posted(bot, event, [payload])[0]


def delivered(github, pull, event: str, action: str) -> Json:
    """Return the newest payload of that kind that was sent about a pull request."""
    found: list[Json] = [
        one.payload
        for one in github.sim.deliveries()
        if (one.event, one.action) == (event, action) and pull.head in json.dumps(one.payload)
    ]
    return found[-1]


def test_github_answers_502_for_a_while(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.wait_for(lambda: model.calls or pull.bodies(), "the attempt to begin")
    github.fault("*", r"^/", times=12, status=502, headers={"Retry-After": "1"})
    bot.settle()

    assert pull.file() == AREA
    assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
    assert len(pull.commits()) == 2
    assert len(model.calls) == 1
    assert (len(pull.cards()), pull.conclusion()) == (1, "success")


def test_a_write_that_was_done_and_then_denied_is_not_done_twice(bot, github, model):
    model.answers(MENDED)
    github.fault("POST", r"/issues/\d+/comments$", status=502, kind=Kind.AFTER)
    github.fault("POST", r"/check-runs$", status=502, kind=Kind.AFTER)
    pull = github.open_pull(BROKEN)
    bot.settle()

    assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
    assert [len(pull.cards(one["sha"])) for one in pull.commits()] == [1, 1]


def test_an_expired_token_is_renewed(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    bot.wait_for(pull.bodies, "the attempt to begin")
    github.sim.expire_tokens()
    bot.settle()

    assert pull.conclusion() == "success"


def test_hundreds_of_deliveries_about_one_head_are_one_run(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN)
    github.sim.wait_idle()
    failed = next(
        one.payload
        for one in github.sim.deliveries()
        if one.event == "check_run"
        and one.payload["check_run"]["head_sha"] == pull.commits()[0]["sha"]
        and one.payload["check_run"]["conclusion"] == "failure"
    )
    codes = set(posted(bot, "check_run", [failed] * 300))
    bot.settle(timeout_s=90.0)

    assert codes == {202}
    assert len(model.calls) == 1
    assert pull.attempts() == ["### Regreen · attempt 1: `test` green again"]
    assert len(pull.commits()) == 2
    runs = bot.server.rows(f"SELECT 1 FROM runs WHERE repo = '{REPO}' AND number = {pull.number}")
    assert len(runs) == 1


def test_a_model_out_of_reach_is_asked_again_by_its_lane_alone_and_then_waited_for(
    bot, github, model
):
    model.answers(Reply(status=503, text="overloaded"))
    pull = github.open_pull(BROKEN)
    bot.wait_for(lambda: "no backend can be used now" in pull.said(), "the wait to be told", 60.0)
    bot.wait_for(lambda: bot.runs(pull) and pull.cards(), "the run to be stored")

    assert 3 < len(model.calls) <= 6, "at most three times before its first rest, and after it"
    lines = [plain(line) for line in pull.said().splitlines()]
    left = "- ⏭️ `primary`: unavailable: primary: the endpoint answered 503: overloaded"
    again = "- ⏳ no backend can be used now, I try again at HH:MM:SS UTC: primary: has failed"
    assert lines.count(left) == 2
    assert [line for line in lines if line.startswith(again)] != []
    assert pull.attempts() == ["### Regreen · attempt 1: working on `test`"]
    assert pull.card()["status"] == "in_progress"


def test_a_delivery_about_a_pull_request_that_is_not_there(bot, github, model):
    pull = github.open_pull(TIDY)
    bot.settle()
    opened = delivered(github, pull, "pull_request", "opened")
    run = delivered(github, pull, "check_run", "completed")
    unknown = json.loads(json.dumps(opened))
    unknown["number"] = unknown["pull_request"]["number"] = 9999
    elsewhere = json.loads(json.dumps(opened).replace(REPO, "acme/unknown"))
    red = json.loads(json.dumps(run).replace(pull.head, "d" * 40))
    red["check_run"]["conclusion"] = "failure"

    before = len(github.sim.effects())
    codes = [
        post(bot, "pull_request", unknown),
        post(bot, "pull_request", elsewhere),
        post(bot, "check_run", red),
    ]
    bot.settle()

    assert codes == [202] * 3
    assert len(github.sim.effects()) == before
    assert "internal_error" not in bot.log


def test_a_delivery_about_a_closed_pull_request(bot, github, model):
    pull = github.open_pull(BROKEN)
    pull.close()
    bot.settle()
    before = len(pull.bodies())
    for event, action in (("pull_request", "opened"), ("check_run", "completed")):
        assert post(bot, event, delivered(github, pull, event, action)) == 202
    bot.settle()

    assert model.calls == []
    assert len(pull.bodies()) == before
    assert len(pull.commits()) == 1


def test_a_delivery_about_a_deleted_branch(bot, github, model):
    pull = github.open_pull(BROKEN, branch="short-lived")
    head = pull.head
    github.sim.move_branch(REPO, "short-lived", None)
    bot.settle()
    for event in ("check_run", "check_suite", "workflow_run"):
        for one in github.sim.deliveries():
            if one.event == event and head in json.dumps(one.payload):
                assert post(bot, event, one.payload) == 202
                break
    bot.settle()

    assert model.calls == []
    assert "internal_error" not in bot.log


def test_a_broken_configuration_keeps_the_old_one_and_names_the_line(bot, github, model):
    path = bot.server.folder / "llm_config.toml"
    good = path.read_text()
    try:
        path.write_text(good.replace("settle_s = 0.2", 'settle_s = "soon"'))
        model.answers(MENDED)
        pull = github.open_pull(BROKEN)
        bot.settle()
    finally:
        path.write_text(good)

    told = next(line for line in bot.log.splitlines() if "settle_s" in line)
    number = good.splitlines().index("settle_s = 0.2") + 1
    assert f"llm_config.toml:{number}" in told
    assert "regreen.settle_s" in told
    assert pull.conclusion() == "success"
