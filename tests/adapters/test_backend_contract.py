"""What every backend of the registry keeps to."""

import errno
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.backends.base import Agent, Worker
from bot.backends.registry import BACKENDS, Registry, kind
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Ending
from bot.domain.chat import Completion, Failed
from bot.domain.errors import NeedsPerson, TryLater
from bot.domain.ports import NO_KIT, Finished
from bot.domain.values import FailureType, Purpose, Question
from tests.support.tasks import a_failing_step, a_task, fill, texts

FILES = {"ruff.toml": "", "a.py": "import os\n"}
STEP = a_failing_step(FailureType.LINT, at=("a.py",), tool="ruff", run=("ruff check .",))


class ClosedDoor:
    """A way to a model that nobody took."""

    socket = Path("/nowhere")

    def calls(self):
        return ()


class Outside:
    """A sandbox, a gateway and a chat in one, which end as they are told."""

    name = "outside"

    def __init__(self, end: Callable[[], Finished], reply: Callable[[], Completion | Failed]):
        self._end, self._reply = end, reply

    @contextmanager
    def reach(self, socket):
        yield "http://127.0.0.1:9"

    def run(self, command, tree, *, timeout_s, stdin=b"", env=None, stop=lambda: False, kit=NO_KIT):
        return self._end()

    @contextmanager
    def open(self, grant):
        yield ClosedDoor()

    def complete(self, endpoint, messages, *, model, temperature, timeout_s, stop):
        return self._reply()


def raising(error: Exception) -> Callable[[], Finished]:
    def end() -> Finished:
        raise error

    return end


def a_config(name: str) -> BackendConfig:
    command = "agent --go" if name == "command" else None
    return BackendConfig(name, name, "m", base_url="http://127.0.0.1:9", command=command)


def run(name: str, tree: Path, outside: Outside, *, fallback: bool = False):
    config = a_config(name)
    configuration = Configuration(
        backends={} if fallback else {name: config}, fallback=(config,) if fallback else ()
    )
    registry = Registry(lambda: configuration, outside, outside, gateway=outside)
    return registry.run(name, fallback=fallback, task=a_task(STEP), tree=tree, stop=lambda: False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path, FILES)


every = pytest.mark.parametrize("name", sorted(BACKENDS))
ENDS = [
    pytest.param(
        lambda: Finished(0, "", 1.0, timed_out=True),
        lambda: Failed(Ending.TIMEOUT, "slow"),
        Ending.TIMEOUT,
        id="time-out",
    ),
    pytest.param(
        lambda: Finished(137, "", 1.0, stopped=True),
        lambda: Failed(Ending.KILLED, "stopped"),
        Ending.KILLED,
        id="stopped",
    ),
    pytest.param(
        lambda: Finished(137, "", 1.0),
        lambda: Failed(Ending.KILLED, "killed"),
        Ending.KILLED,
        id="killed",
    ),
    pytest.param(
        raising(TryLater("busy", 7.0)),
        raising(TryLater("busy", 7.0)),
        Ending.UNAVAILABLE,
        id="later",
    ),
    pytest.param(
        raising(NeedsPerson("no bwrap")),
        raising(NeedsPerson("no bwrap")),
        Ending.TOOL_FAILED,
        id="person",
    ),
    pytest.param(
        raising(OSError(errno.ENOSPC, "full")),
        raising(OSError(errno.ENOSPC, "full")),
        Ending.DISK_FULL,
        id="disk full",
    ),
    pytest.param(
        raising(OSError(errno.EACCES, "denied")),
        raising(OSError(errno.EACCES, "denied")),
        Ending.TOOL_FAILED,
        id="denied",
    ),
]


@every
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(("end", "reply", "ending"), ENDS)
def test_what_breaks_outside_is_an_answer(tree, name, fallback, end, reply, ending):
    answer = run(name, tree, Outside(end, reply), fallback=fallback)

    assert answer.ending is ending
    assert answer.detail
    assert answer.usage.seconds >= 0
    assert texts(tree) == FILES


@pytest.mark.parametrize("name", sorted({*BACKENDS} - {"fixers"}))
@pytest.mark.parametrize(("end", "reply", "ending"), ENDS)
def test_a_question_ends_as_a_task_does(tree, name, end, reply, ending):
    outside = Outside(end, reply)
    configuration = Configuration(backends={name: a_config(name)})
    registry = Registry(lambda: configuration, outside, outside, gateway=outside)
    question = Question(Purpose.PLAN, a_task(STEP))
    answer = registry.consult(name, question=question, tree=tree, within_s=60.0, stop=lambda: False)

    assert answer.ending is ending
    assert answer.detail
    assert texts(tree) == FILES


@every
def test_an_answer_that_cannot_be_used_leaves_the_tree_alone(tree, name):
    half = (
        "FILE: new.py\n```\nx = 1\n```\n"
        "a.py\n<<<<<<< SEARCH\nno such line\n=======\n>>>>>>> REPLACE"
    )
    answer = run(
        name, tree, Outside(lambda: Finished(2, "usage: …", 0.1), lambda: Completion(half))
    )

    assert answer.ending in {Ending.INVALID, Ending.TOOL_FAILED}
    assert answer.detail
    assert texts(tree) == FILES


@every
def test_every_backend_has_one_of_the_two_surfaces(name):
    assert isinstance(BACKENDS[name], Agent) != isinstance(BACKENDS[name], Worker)


def test_an_unknown_or_disabled_backend_is_not_found(tree):
    off = BackendConfig("off", "command", "m", enabled=False, command="true")
    primary = BackendConfig("p", "command", "m", command="true")
    configuration = Configuration(backends={"off": off, "p": primary}, fallback=())
    outside = Outside(lambda: Finished(0, "", 0.1), lambda: Completion(""))
    registry = Registry(lambda: configuration, outside, outside)

    def end(name: str, *, fallback: bool = False) -> Ending:
        given = {"task": a_task(), "tree": tree, "stop": lambda: False}
        return registry.run(name, fallback=fallback, **given).ending

    assert end("nobody") is Ending.NOT_FOUND
    assert end("off") is Ending.NOT_FOUND
    assert end("p") is Ending.EDITED
    assert end("p", fallback=True) is Ending.NOT_FOUND


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BackendConfig("a", "gemini", "m"), "gemini"),
        (BackendConfig("a", "openai", "m"), "patch_worker"),
        (BackendConfig("a", "patch_worker", "m"), "patch_worker"),
        (BackendConfig("a", "command", "m"), "command"),
        (BackendConfig("a", "aider", "m", command="aider --yes"), "command"),
    ],
)
def test_a_backend_is_served_by_its_type_or_its_keys(config, expected):
    assert kind(config) == expected
