"""A backend through each of its providers: its key, address, model and environment."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bot.backends.registry import Registry
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.models import Origin
from bot.domain.ports import Terms
from bot.domain.values import PullRef, Purpose, Question, Secret
from bot.gateway.chat import Chat
from bot.simulator.model import ScriptedModel
from tests.support.chat_server import fails, says, serving
from tests.support.gateways import running
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_task, fill

EDIT = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"
ORIGIN = Origin("run-7", 1, PullRef("octo/hello", 7), "42", "", "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path / "tree", {"a.py": "x = 1\n"})


def with_ways(config: BackendConfig, **ways: BackendConfig) -> BackendConfig:
    named = {name: replace(way, provider=name) for name, way in ways.items()}
    return replace(config, providers=tuple(ways), ways=named)


def run(config: BackendConfig, tree: Path, provider: str = "", **given) -> Answer:
    configuration = Configuration(backends={config.name: config})
    registry = Registry(lambda: configuration, PlainSandbox(), Chat(), **given)
    terms = Terms(provider=provider, origin=ORIGIN)
    return registry.run(
        config.name, fallback=False, task=a_task(), tree=tree, stop=lambda: False, terms=terms
    )


def test_the_gateway_is_given_the_providers_key_and_address_and_counts_it(tree):
    own = BackendConfig("q", "patch_worker", "m-own", base_url="http://own.example/v1")
    with ScriptedModel() as model, running() as (gateway, ledger, _):
        model.will_answer("m-cheap", EDIT)
        cheap = replace(own, model="m-cheap", base_url=model.url, api_key=Secret("sk-cheap"))
        config = with_ways(own, dear=own, cheap=cheap)
        answer = run(config, tree, "cheap", gateway=gateway)
        (call,) = ledger.calls("run-7")
        seen = [one.authorization for one in model.calls]
    assert answer.ending is Ending.EDITED
    assert seen == ["Bearer sk-cheap"]
    assert (call.origin.backend, call.origin.provider) == ("q", "cheap")


def test_without_a_name_it_is_the_first(tree):
    own = BackendConfig("q", "command", "m", command="true")
    said = replace(own, command="echo through the first")
    answer = run(with_ways(own, first=said, second=own), tree)
    assert "through the first" in answer.text


def test_a_provider_that_is_gone_is_not_found(tree):
    answer = run(BackendConfig("q", "command", "m", command="true"), tree, "azure")
    assert (answer.ending, answer.detail) == (
        Ending.NOT_FOUND,
        "backend q has no provider azure",
    )


def test_a_providers_environment_reaches_its_program_and_no_other(tree):
    own = BackendConfig("q", "command", "m", command="env")
    config = with_ways(own, a=replace(own, env={"REGION": "here"}), b=own)
    assert "REGION=here" in run(config, tree, "a").text
    assert "REGION" not in run(config, tree, "b").text


def test_a_question_goes_through_the_provider_too(tree):
    own = BackendConfig("q", "command", "m", command="true")
    config = with_ways(own, a=own, b=replace(own, command="echo a plan by b"))
    registry = Registry(lambda: Configuration(backends={"q": config}), PlainSandbox(), Chat())
    answer = registry.consult(
        "q",
        question=Question(Purpose.PLAN, a_task()),
        tree=tree,
        within_s=20.0,
        stop=lambda: False,
        terms=Terms(provider="b"),
    )
    assert answer.text == "a plan by b"


# --- limits --------------------------------------------------------------------------------------

SPENT = fails(429, {"message": "You exceeded your quota", "code": "insufficient_quota"})


@pytest.mark.parametrize(
    ("provider", "ending", "asked"),
    [("first", Ending.USAGE_LIMIT, 1), ("last", Ending.EDITED, 2)],
)
def test_only_the_last_provider_waits_for_a_limit(tree, provider, ending, asked):
    with serving(SPENT, says(EDIT)) as server:
        own = BackendConfig(
            "q", "patch_worker", "m", base_url=server.url, usage_limit_retry_count=1, max_retries=0
        )
        answer = run(with_ways(own, first=own, last=own), tree, provider)
    assert (answer.ending, len(server.seen)) == (ending, asked)


COUNTING = """
import pathlib, sys
said = pathlib.Path("said")
said.write_text((said.read_text() if said.exists() else "") + "x")
print("quota is gone" if len(said.read_text()) < int(sys.argv[1]) else "done")
"""


@pytest.mark.parametrize(
    ("well_at", "count", "ending", "mode", "calls"),
    [
        (1, 2, Ending.EDITED, DrainMode.NORMAL, 1),
        (3, 2, Ending.EDITED, DrainMode.SAME_AGENT_RETRY, 3),
        (9, 2, Ending.USAGE_LIMIT, DrainMode.SAME_AGENT_RETRY, 3),
        (2, 0, Ending.USAGE_LIMIT, DrainMode.NORMAL, 1),
    ],
)
def test_an_agent_is_started_again_at_a_limit_as_often_as_is_set(
    tree, tmp_path, well_at, count, ending, mode, calls
):
    script = tmp_path / "agent.py"
    script.write_text(COUNTING)
    config = BackendConfig(
        "q",
        "command",
        "m",
        command=f"{sys.executable} {script} {well_at}",
        usage_markers=("quota is gone",),
        usage_limit_retry_count=count,
    )
    answer = run(config, tree)
    assert (answer.ending, answer.mode) == (ending, mode)
    assert len((tree / "said").read_text()) == calls


@pytest.mark.parametrize(
    ("looks", "ending"),
    [
        pytest.param(1, Ending.USAGE_LIMIT, id="before it waits"),
        pytest.param(2, Ending.KILLED, id="while it waits"),
    ],
)
def test_who_is_stopped_does_not_wait(tree: Path, looks: int, ending: Ending) -> None:
    config = BackendConfig(
        "q",
        "command",
        "m",
        command="sh -c 'touch said; echo quota is gone'",
        usage_markers=("quota is gone",),
        usage_limit_retry_count=3,
        usage_limit_retry_wait_s=3_600.0,
    )
    seen: list[bool] = []

    def stop() -> bool:
        if (tree / "said").exists():
            seen.append(True)
        return len(seen) >= looks

    registry = Registry(lambda: Configuration(backends={"q": config}), PlainSandbox(), Chat())
    answer = registry.run("q", fallback=False, task=a_task(), tree=tree, stop=stop)
    assert answer.ending is ending
