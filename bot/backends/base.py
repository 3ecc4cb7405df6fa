"""The shape of a backend.

A backend is a module with one of two surfaces. An *agent* is a program: `command` says what to
start, `read` says what its end means, and `bot.backends.run` does the starting. A *worker* does its
work itself: `work` calls a model or several programs, always through the job's own ports. Neither
raises for what happens outside: every end is an `Answer`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from bot.config.schema import BackendConfig
from bot.domain.answers import Answer
from bot.domain.chat import Completion, Endpoint, Failed, Message
from bot.domain.ports import Finished, Sandbox
from bot.domain.values import Task

TIMEOUT_S = 1800.0
QUIET_S = 600.0  # a long test run, or a long thought, says nothing for minutes
RETRIES = 2


class Chat(Protocol):
    """Calls a chat endpoint; never raises for an outside failure."""

    def complete(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        *,
        model: str,
        temperature: float | None,
        timeout_s: float,
        stop: Callable[[], bool],
    ) -> Completion | Failed: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One call of a backend: what to mend, where, and by what means.

    With a `question`, nothing is to be mended: the question is all that is asked. `session` names
    the call where an agent wants a name, `resume` the agent's own session that goes on.
    `prompt_file` is where an agent finds the prompt, relative to the tree. `url` is the gateway as
    the agent sees it, without a version in its path, and `key` opens nothing but this call's way; a
    worker finds the gateway at `socket`, None where there is none.
    """

    config: BackendConfig
    task: Task
    tree: Path
    sandbox: Sandbox
    chat: Chat
    stop: Callable[[], bool]
    session: str = ""
    prompt_file: str = ""
    question: str = ""
    resume: str = ""
    url: str = ""
    key: str = "sk-regreen"  # a dummy: the gateway holds the real one
    socket: Path | None = None

    @property
    def timeout_s(self) -> float:
        """How long the whole call may take."""
        return self.config.timeout_s or TIMEOUT_S

    @property
    def retries(self) -> int:
        """How often an agent may repeat a failed call of its model; another backend waits."""
        return RETRIES if self.config.max_retries is None else self.config.max_retries

    @property
    def model(self) -> str:
        """The configured model, "" where the configuration names none but the backend's name."""
        own = {self.config.name, self.config.backend_type}
        return "" if self.config.model in own else self.config.model


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program to start in the sandbox; `stdin` is its prompt, which never stands in `argv`.

    `files` are settings by path below its home folder, which lies outside the tree. `circle` is
    what it prints when its model's replies are of no use and it asks again and again.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    circle: str = ""


@runtime_checkable
class Agent(Protocol):
    """The surface of a module that describes a program; both functions start and change nothing."""

    def command(self, job: Job) -> Invocation | Answer: ...
    def read(self, job: Job, finished: Finished) -> Answer: ...


@runtime_checkable
class Worker(Protocol):
    """The surface of a module that does its work itself."""

    def work(self, job: Job) -> Answer: ...


Backend = Agent | Worker
