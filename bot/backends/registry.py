"""Every backend by name, written out, and the port that runs them by configuration."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from bot.backends import (
    aider,
    claude,
    codex,
    command,
    endpoints,
    fixers,
    gemini,
    opencode,
    patch_worker,
    questions,
    qwen,
)
from bot.backends.base import Backend, Chat, Job
from bot.backends.homes import Homes
from bot.backends.run import Surroundings, once_more, run, within
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.models import Origin
from bot.domain.ports import ORDINARY, Gateway, Sandbox, Terms
from bot.domain.values import Question, Task

BACKENDS: Mapping[str, Backend] = {
    "aider": aider,
    "claude": claude,
    "codex": codex,
    "command": command,
    "fixers": fixers,
    "gemini": gemini,
    "opencode": opencode,
    "patch_worker": patch_worker,
    "qwen": qwen,
}
_FIXERS = BackendConfig("fixers", "fixers", "", price_in=0.0, price_out=0.0)


class Registry:
    """The backends of the configuration in force, and `fixers`.

    Models are reached through the gateway; agents have no other way. Their sessions are kept below
    *homes*; without it each call is a new one. The model of an agent that is not installed is asked
    for a patch.
    """

    def __init__(
        self,
        config: Callable[[], Configuration],
        sandbox: Sandbox,
        chat: Chat,
        *,
        gateway: Gateway | None = None,
        homes: Path | None = None,
    ) -> None:
        self._config = config
        self._sandbox = sandbox
        self._chat = chat
        self._gateway = gateway
        self._homes = Homes(homes)

    def run(
        self,
        backend: str,
        *,
        fallback: bool,
        task: Task,
        tree: Path,
        stop: Callable[[], bool],
        terms: Terms = ORDINARY,
    ) -> Answer:
        """Have the backend called *backend* mend *tree*; every end is an answer."""
        config = self._usable(backend, terms, fallback=fallback)
        if isinstance(config, Answer):
            return config
        job = Job(
            config,
            task,
            tree,
            self._sandbox,
            self._chat,
            stop,
            question=terms.question,
            resume=terms.resume,
        )
        return self._run(kind(config), job, _origin(job, terms))

    def consult(
        self,
        backend: str,
        *,
        question: Question,
        tree: Path,
        within_s: float,
        stop: Callable[[], bool],
        terms: Terms = ORDINARY,
    ) -> Answer:
        """Ask the backend called *backend*; of what it does to *tree* nothing is to be kept."""
        config = self._usable(backend, terms, fallback=False)
        if isinstance(config, Answer):
            return config
        posed = questions.posed(question)
        job = Job(config, question.task, tree, self._sandbox, self._chat, stop, question=posed)
        origin = _origin(job, terms)

        def ask(job: Job) -> Answer:
            said = self._run(kind(config), job, origin)
            answer = questions.answered(backend, question, said)
            if answer.ending is said.ending or answer.ending is not Ending.INVALID or job.stop():
                return answer
            again = replace(job, question=questions.again(posed, answer), resume=answer.session)
            second = self._run(kind(config), again, origin)
            second = questions.answered(backend, question, second)
            return once_more(answer, second, DrainMode.FORMAT_RETRY)

        return within(within_s, job, ask)

    def _run(self, kind: str, job: Job, origin: Origin) -> Answer:
        """Run the module of that name, with a way to its model if it needs one."""
        backend, gateway = BACKENDS[kind], self._gateway
        if kind not in {"patch_worker", *endpoints.AGENTS}:
            return run(backend, job, Surroundings(self._homes))
        instead = self._instead(kind, job, origin)
        if gateway is None and kind == "patch_worker":  # it runs here, so it can call by itself
            return run(backend, job, Surroundings(self._homes))
        if gateway is None:
            return instead("the gateway does not run here")
        grant = endpoints.grant(job.config, kind, origin, self._config())
        if isinstance(grant, Answer):
            return grant
        return run(backend, job, Surroundings(self._homes, lambda: gateway.open(grant), instead))

    def _instead(self, kind: str, job: Job, origin: Origin) -> Callable[[str], Answer]:
        """Return what is done where an agent cannot be started, for the reason that it is told.

        Its model is asked for a patch, if the configuration leads to a chat endpoint.
        """
        name = job.config.name

        def work(reason: str) -> Answer:
            where = endpoints.endpoint(job.config)
            if kind == "patch_worker" or isinstance(where, Answer):
                return Answer(Ending.NOT_FOUND, detail=f"{name}: {reason}")
            answer = self._run("patch_worker", job, origin)
            detail = f"{reason}, so {name} was asked for a patch; {answer.detail}"
            return msgspec.structs.replace(answer, detail=detail)

        return work

    def _usable(self, backend: str, terms: Terms, *, fallback: bool) -> BackendConfig | Answer:
        config = self._named(backend, fallback=fallback)
        if config is not None and config.enabled:
            way = config.through(terms.provider)
            if way is not None:
                return _patient(config, way)
            detail = f"backend {backend} has no provider {terms.provider}"
            return Answer(Ending.NOT_FOUND, detail=detail)
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
    """Return the name of the module that serves a backend: its type, else what its keys imply.

    A command of one's own comes before the agent that the type names.
    """
    if config.backend_type in endpoints.AGENTS and config.command:
        return "command"
    if config.backend_type in BACKENDS:
        return config.backend_type
    return "command" if config.command else "patch_worker"


def _patient(config: BackendConfig, way: BackendConfig) -> BackendConfig:
    """Have only the last way wait for a usage limit to pass: before that the next one is tried."""
    last = next(reversed(list(config.ways)), "")
    return way if way.provider == last else replace(way, usage_limit_retry_count=0)


def _origin(job: Job, terms: Terms) -> Origin:
    """Return on whose account the calls go, with the backend and the provider that serve them."""
    origin = terms.origin or Origin("", 0, job.task.pull, "", "")
    config = job.config
    return msgspec.structs.replace(origin, backend=config.name, provider=config.provider)
