"""The fixtures of a story: `bot`, `github` and `model`, on a stage that stories share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.postgres import postgres
from tests.support.running import CONFIG
from tests.support.scenes import Bot, Github, Model, Stage, stage

__all__ = ["postgres"]

USUAL = "usual"
NO_FALLBACK = CONFIG.partition("[backend_for_failed_pr]")[0] + (
    "[regreen]" + CONFIG.partition("[regreen]")[2]
)

DRAINS = """\
[backend]
order = ["primary"]

[backends.primary]
backend_type = "openai"
model = "scripted-primary"
base_url = "{model}"
api_key = "not-a-key"

[backends.ada]
backend_type = "openai"
model = "scripted-ada"
base_url = "{model}"
api_key = "not-a-key"

[backends.ben]
backend_type = "openai"
model = "scripted-ben"
base_url = "{model}"
api_key = "not-a-key"

[backends.judy]
backend_type = "openai"
model = "scripted-judy"
base_url = "{model}"
api_key = "not-a-key"

[agent_chains]
planners = ["ada", "ben"]
menders = ["primary"]
judges = ["judy"]

[agent_drains]
planning = "planners"
fix = "menders"
analysis = "judges"

[planning]
synthesis = "ben"
within_s = 6

[qa]
enabled = true
max_sessions = 1
max_iterations = 1

""" + ("[regreen]" + CONFIG.partition("[regreen]")[2])

BUDGET = (
    CONFIG.replace(
        'api_key = "not-a-key"\n', 'api_key = "not-a-key"\nprice_in = 1\nprice_out = 4\n'
    )
    + """
[budget]
per_pull_usd = 0.05
"""
)


PROOF = (
    CONFIG.partition("[backend_for_failed_pr]")[0]
    + """\
[backends.judy]
backend_type = "openai"
model = "scripted-judy"
base_url = "{model}"
api_key = "not-a-key"

[agent_chains]
menders = ["primary"]
judges = ["judy"]

[agent_drains]
fix = "menders"
review = "judges"

[review]
mode = "gate"

[gatekeeper]
verify = "both"
ci_look_s = 1
ci_start_s = 2

[regreen]"""
    + CONFIG.partition("[regreen]")[2]
)


@pytest.fixture(scope="package")
def stages(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Stage]]:
    """Give the stage of a name, started when the first story asks for it.

    The usual one stays up while stories are told. Another one is taken down when the next is asked
    for: a server that waits still looks for work, which slows down all others.
    """
    with ExitStack() as always, ExitStack() as once:
        known: dict[str, Stage] = {}

        def get(name: str) -> Stage:
            for other in known.keys() - {name, USUAL}:
                del known[other]
                once.close()
            if name not in known:
                stack = always if name == USUAL else once
                known[name] = stack.enter_context(_open(name, request))
            return known[name]

        yield get


def _open(name: str, request: pytest.FixtureRequest):
    match name:
        case "postgres":
            return stage(database_url=request.getfixturevalue("postgres").new_database())
        case "no fallback":
            return stage(NO_FALLBACK, REGREEN_ENV="staging")
        case "drains":
            return stage(DRAINS)
        case "proof":
            return stage(PROOF)
        case "budget":
            return stage(BUDGET)
        case "unprotected":
            return stage(CONFIG.replace("{driver}", "none"))
        case "production":
            return stage(REGREEN_ENV="production")
        case _:
            return stage()


@pytest.fixture
def the_stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Iterator[Stage]:
    """The stage that a story plays on; the parameter names another than the usual one."""
    chosen = stages(getattr(request, "param", USUAL))
    yield chosen
    chosen.conformance.check()


@pytest.fixture
def github(the_stage: Stage, request: pytest.FixtureRequest) -> Iterator[Github]:
    """GitHub; what a story leaves open is closed behind it."""
    seen = Github(the_stage, request.node.name)
    yield seen
    the_stage.github.door.faults.planned.clear()
    for pull in seen.opened:
        if the_stage.github.is_open(pull.repo, pull.number):
            pull.close()


@pytest.fixture
def model(the_stage: Stage, request: pytest.FixtureRequest) -> Model:
    """The scripted model."""
    return Model(the_stage, request.node.name)


@pytest.fixture
def bot(the_stage: Stage) -> Bot:
    """The server."""
    return Bot(the_stage, len(the_stage.server.log))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the stories of a file in one worker, and all those of a stage of its own in one."""
    for item in items:
        if "/scenarios/" in str(item.path):
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            name = parameters.get("the_stage", USUAL)
            item.add_marker(pytest.mark.xdist_group(item.path.stem if name == USUAL else name))
