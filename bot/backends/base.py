"""The shape of a backend.

A backend is a module with one of two surfaces. An *agent* is a program: `command` says what to
start, `read` says what its end means, and `bot.backends.run` does the starting. A *worker* does its
work itself: `work` calls a model or several programs, always through the job's own ports. Neither
raises for what happens outside: every end is an `Answer`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bot.config.schema import BackendConfig
from bot.domain.answers import Answer
from bot.domain.chat import Completion, Endpoint, Failed, Message
from bot.domain.ports import Finished, Sandbox
from bot.domain.values import Task


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

    With a `question`, nothing is to be mended: the question is all that is asked. `prompt_file` is
    where an agent finds the prompt, relative to the tree; `session` names the call where an agent
    wants a name.
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


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program to start in the sandbox; `stdin` is its prompt, which never stands in `argv`."""

    argv: tuple[str, ...]
    stdin: str = ""
    timeout_s: float = 1800.0


@runtime_checkable
class Agent(Protocol):
    """The surface of a module that describes a program; both functions are pure."""

    def command(self, job: Job) -> Invocation | Answer: ...
    def read(self, job: Job, finished: Finished) -> Answer: ...


@runtime_checkable
class Worker(Protocol):
    """The surface of a module that does its work itself."""

    def work(self, job: Job) -> Answer: ...


Backend = Agent | Worker
