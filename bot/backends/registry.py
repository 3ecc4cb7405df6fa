"""Every backend by name, written out, and the port that runs them by configuration."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bot.backends import command, fixers, patch_worker, questions
from bot.backends.base import Backend, Chat, Job
from bot.backends.run import run, run_within
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Sandbox
from bot.domain.values import Question, Task

BACKENDS: Mapping[str, Backend] = {
    "command": command,
    "fixers": fixers,
    "patch_worker": patch_worker,
}
_FIXERS = BackendConfig("fixers", "fixers", "", price_in=0.0, price_out=0.0)


class Registry:
    """The backends of the configuration in force, and `fixers`."""

    def __init__(self, config: Callable[[], Configuration], sandbox: Sandbox, chat: Chat) -> None:
        self._config = config
        self._sandbox = sandbox
        self._chat = chat

    def run(
        self,
        backend: str,
        *,
        fallback: bool,
        task: Task,
        tree: Path,
        stop: Callable[[], bool],
    ) -> Answer:
        """Have the backend called *backend* mend *tree*; every end is an answer."""
        config = self._usable(backend, fallback=fallback)
        if isinstance(config, Answer):
            return config
        job = Job(config, task, tree, self._sandbox, self._chat, stop)
        return run(BACKENDS[kind(config)], job)

    def consult(
        self,
        backend: str,
        *,
        question: Question,
        tree: Path,
        within_s: float,
        stop: Callable[[], bool],
    ) -> Answer:
        """Ask the backend called *backend*; of what it does to *tree* nothing is to be kept."""
        config = self._usable(backend, fallback=False)
        if isinstance(config, Answer):
            return config
        if config is _FIXERS:
            return Answer(Ending.NOT_FOUND, detail="the fixers answer no questions")
        config = replace(config, options=config.options_for_noedit or config.options)
        posed = questions.posed(question)
        job = Job(config, question.task, tree, self._sandbox, self._chat, stop, question=posed)
        answer = run_within(BACKENDS[kind(config)], job, within_s)
        return questions.answered(backend, question, answer)

    def _usable(self, backend: str, *, fallback: bool) -> BackendConfig | Answer:
        config = self._named(backend, fallback=fallback)
        if config is not None and config.enabled:
            return config
        state = "is not configured" if config is None else "is disabled"
        return Answer(Ending.NOT_FOUND, detail=f"backend {backend} {state}")

    def _named(self, backend: str, *, fallback: bool) -> BackendConfig | None:
        if backend == _FIXERS.name:
            return _FIXERS
        configuration = self._config()
        if fallback:
            return next((one for one in configuration.fallback if one.name == backend), None)
        return configuration.backends.get(backend)


def kind(config: BackendConfig) -> str:
    """Return the name of the module that serves a backend: its type, else what its keys imply."""
    if config.backend_type in BACKENDS:
        return config.backend_type
    return "command" if config.command else "patch_worker"
