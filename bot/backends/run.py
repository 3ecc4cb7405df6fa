"""The one place that runs a backend.

It starts agents in the sandbox, with the prompt on standard input and in a file that is gone
afterwards; it measures the time, works out the cost, and turns what breaks outside into an answer.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import msgspec

from bot.backends import endings
from bot.backends.base import Agent, Backend, Job
from bot.config.schema import BackendConfig
from bot.domain.answers import Answer, Ending
from bot.domain.errors import BotError, TryLater
from bot.domain.values import Usage

_MILLION = 1_000_000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def run(backend: Backend, job: Job) -> Answer:
    """Run *backend* over the job's tree; return its end with the time and money it took."""
    started = time.monotonic()
    try:
        answer = _start(backend, job) if isinstance(backend, Agent) else backend.work(job)
    except TryLater as error:
        answer = Answer(Ending.UNAVAILABLE, detail=str(error), retry_after_s=error.after_s)
    except BotError as error:
        answer = Answer(Ending.TOOL_FAILED, detail=str(error))
    except OSError as error:
        ending = Ending.DISK_FULL if error.errno in _FULL else Ending.TOOL_FAILED
        answer = Answer(ending, detail=f"{job.config.name}: {error.strerror or error}")
    usage = priced(answer.usage, job.config)
    usage = msgspec.structs.replace(usage, seconds=time.monotonic() - started)
    return msgspec.structs.replace(answer, usage=usage)


def run_within(backend: Backend, job: Job, within_s: float) -> Answer:
    """Run *backend* for *within_s* seconds at most, with every try that it repeats."""
    until = time.monotonic() + within_s

    def late() -> bool:
        return time.monotonic() >= until

    config = replace(job.config, timeout_s=min(job.config.timeout_s or within_s, within_s))
    answer = run(backend, replace(job, config=config, stop=lambda: job.stop() or late()))
    if answer.ending is Ending.KILLED and late() and not job.stop():
        detail = f"{config.name} took longer than the {within_s:g} s that there were"
        return msgspec.structs.replace(answer, ending=Ending.TIMEOUT, detail=detail)
    return answer


def priced(usage: Usage, config: BackendConfig) -> Usage:
    """Return *usage* with its cost, where the configuration knows both prices."""
    if usage.cost_usd is not None or config.price_in is None or config.price_out is None:
        return usage
    cost = usage.input_tokens * config.price_in + usage.output_tokens * config.price_out
    return msgspec.structs.replace(usage, cost_usd=cost / _MILLION)


def _start(agent: Agent, job: Job) -> Answer:
    session = str(uuid4())
    job = replace(job, session=session, prompt_file=f".regreen-prompt-{session}.md")
    invocation = agent.command(job)
    if isinstance(invocation, Answer):
        return invocation
    with _prompt(job, invocation.stdin):
        finished = job.sandbox.run(
            invocation.argv,
            job.tree,
            timeout_s=invocation.timeout_s,
            stdin=invocation.stdin.encode(errors="replace"),
            stop=job.stop,
        )
    ended = endings.unfinished(finished, invocation.argv[0])
    return ended if ended is not None else agent.read(job, finished)


@contextmanager
def _prompt(job: Job, text: str) -> Iterator[None]:
    """Keep the prompt in a file of the tree, under a name that nobody can have foreseen."""
    path = job.tree / job.prompt_file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode(errors="replace"))
        yield
    finally:
        path.unlink(missing_ok=True)
