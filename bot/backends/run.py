"""The one place that runs a backend.

It starts agents in the sandbox, with the prompt on standard input or in a file that is gone
afterwards, a home folder of their own and no way out but the gateway; it measures the time, works
out the cost, and turns what breaks outside into an answer. What the gateway saw of the calls comes
before what the agent says of itself.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from uuid import uuid4

import msgspec
from tenacity import Retrying, retry_if_result, stop_after_attempt

from bot.backends import endings
from bot.backends.aside import put_aside
from bot.backends.base import QUIET_S, Agent, Backend, Invocation, Job, Worker
from bot.backends.homes import Home, Homes
from bot.backends.tree import remove
from bot.config.schema import BackendConfig
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.errors import BotError, TryLater
from bot.domain.models import NANO, Call, decisive, ending_of
from bot.domain.ports import Door, Finished, Kit, Watch
from bot.domain.values import Usage

_MILLION = 1_000_000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROPER = frozenset({Ending.EDITED, Ending.NO_CHANGE})
# After these ends it would be of no use, or not possible, to go on with the session.
_SPOILT = frozenset({Ending.AUTH, Ending.CONTEXT_EXCEEDED, Ending.DISK_FULL, Ending.NOT_FOUND})
_LIMITS = frozenset({Ending.RATE_LIMITED, Ending.USAGE_LIMIT})
_MOST_PATIENCE_S = 60.0  # of a limit that says how long; a longer one is for others to wait for
_ASK_S = 0.5  # between two looks whether to stop
_MOST_BYTES = 64 * 1024 * 1024  # of an agent's output


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a program is run with: homes, and the way to its model, None for one that has none.

    `instead` is what is done, and why, when the program is not installed.
    """

    homes: Homes
    way: Callable[[], AbstractContextManager[Door]] | None = None
    instead: Callable[[str], Answer] | None = None


def run(backend: Backend, job: Job, around: Surroundings) -> Answer:
    """Run *backend* over the job's tree; return its end with the time and money it took."""
    started = time.monotonic()
    try:
        if isinstance(backend, Agent):
            answer = _start(backend, job, around)
        else:
            answer = _work(backend, job, around)
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


def within(within_s: float, job: Job, work: Callable[[Job], Answer]) -> Answer:
    """Have *work* take *within_s* seconds at most, with every try that it repeats."""
    until = time.monotonic() + within_s

    def late() -> bool:
        return time.monotonic() >= until

    config = replace(job.config, timeout_s=min(job.config.timeout_s or within_s, within_s))
    answer = work(replace(job, config=config, stop=lambda: job.stop() or late()))
    if answer.ending is Ending.KILLED and late() and not job.stop():
        detail = f"{config.name} took longer than the {within_s:g} s that there were"
        return msgspec.structs.replace(answer, ending=Ending.TIMEOUT, detail=detail)
    return answer


def once_more(first: Answer, second: Answer, mode: DrainMode) -> Answer:
    """Return the second answer of a backend that was asked again so; both are paid for."""
    spent = (first.usage, second.usage)
    costs = [one.cost_usd for one in spent if one.cost_usd is not None]
    usage = Usage(
        sum(one.input_tokens for one in spent),
        sum(one.output_tokens for one in spent),
        cost_usd=sum(costs) if costs else None,
        seconds=sum(one.seconds for one in spent),
    )
    return msgspec.structs.replace(second, usage=usage, mode=mode)


def priced(usage: Usage, config: BackendConfig) -> Usage:
    """Return *usage* with its cost, where the configuration knows both prices."""
    price = config.price
    if usage.cost_usd is not None or price is None:
        return usage
    cost = usage.input_tokens * price.input + usage.output_tokens * price.output
    return msgspec.structs.replace(usage, cost_usd=cost / _MILLION)


def _work(worker: Worker, job: Job, around: Surroundings) -> Answer:
    with _way(around) as door:
        answer = worker.work(replace(job, socket=door.socket if door else None))
        return witnessed(answer, door.calls() if door else (), job.config.name)


def _start(agent: Agent, job: Job, around: Surroundings) -> Answer:
    """Start an agent, and after a limit again, as often as its configuration says.

    A wait that the API asks for is kept when it is short; a longer one is handed back. A cap of our
    own is no such limit: nothing but time or a person lifts it.
    """
    answers: list[Answer] = []

    def start() -> Answer:
        before = answers[-1] if answers else None
        session = before.session if before else ""
        answer = _started(agent, replace(job, resume=session or job.resume), around)
        if before is not None:
            answer = once_more(before, answer, DrainMode.SAME_AGENT_RETRY)
        answers.append(answer)
        return answer

    retrying = Retrying(
        retry=retry_if_result(lambda answer: _may_pass(answer) and not job.stop()),
        stop=stop_after_attempt(1 + job.config.usage_limit_retry_count),
        wait=lambda _: _wait_s(answers[-1], job.config),
        sleep=lambda seconds: _pause(seconds, job.stop),
        retry_error_callback=lambda _: answers[-1],
    )
    return retrying(start)


def _may_pass(answer: Answer) -> bool:
    """Tell whether a limit may be over within a wait that a call may take."""
    return answer.ending in _LIMITS and (answer.retry_after_s or 0.0) <= _MOST_PATIENCE_S


def _wait_s(answer: Answer, config: BackendConfig) -> float:
    asked_s = answer.retry_after_s
    return config.usage_limit_retry_wait_s if asked_s is None else asked_s


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, _ASK_S))


def _started(agent: Agent, job: Job, around: Surroundings) -> Answer:
    answer = _once(agent, job, around)
    if job.resume and answer.ending is Ending.NOT_FOUND:  # the agent does not know its session
        return _once(agent, replace(job, resume=""), around)
    return answer


def _once(agent: Agent, job: Job, around: Surroundings) -> Answer:
    session = str(uuid4())
    job = replace(job, session=session, prompt_file=f".regreen-prompt-{session}.md")
    with around.homes.open(job.resume) as home, _led(job, around) as (door, url):
        job = replace(job, resume=home.resume, url=url)
        invocation = agent.command(job)
        if isinstance(invocation, Answer):
            return invocation
        home.fill(invocation.files)
        finished = _run(job, invocation, home, door)
        program = invocation.argv[0]
        if around.instead is not None and endings.missing(finished, program):
            return around.instead(f"{program} is not installed in the sandbox")
        answer = agent.read(job, finished)
        answer = witnessed(answer, door.calls() if door else (), job.config.name)
        if answer.ending not in _SPOILT:
            home.keep = answer.session
        mode = DrainMode.CONTINUATION if job.resume else DrainMode.NORMAL
        return msgspec.structs.replace(answer, session=home.token, mode=mode)


@contextmanager
def _led(job: Job, around: Surroundings) -> Iterator[tuple[Door | None, str]]:
    """Yield the way to the agent's model, and its URL as the agent sees it."""
    with _way(around) as door:
        if door is None:
            yield None, ""
            return
        with job.sandbox.reach(door.socket) as url:
            yield door, url


def _way(around: Surroundings) -> AbstractContextManager[Door | None]:
    return nullcontext() if around.way is None else around.way()


def _run(job: Job, invocation: Invocation, home: Home, door: Door | None) -> Finished:
    watch = Watch(QUIET_S, _MOST_BYTES, invocation.circle)
    with put_aside(job.tree), _prompt(job, invocation):
        return job.sandbox.run(
            invocation.argv,
            job.tree,
            timeout_s=job.timeout_s,
            stdin=invocation.stdin.encode(errors="replace"),
            env={**job.config.env, **invocation.env},
            stop=job.stop,
            kit=Kit(home.path, door.socket if door else None, watch),
        )


def witnessed(answer: Answer, calls: Sequence[Call], name: str) -> Answer:
    """Return the answer as the gateway's account of the calls corrects it.

    A status code is a better witness than words. But an agent that came to a proper end is
    believed when any of its calls went well: one for a title may fail beside those that matter.
    """
    if not calls:
        return answer
    answer = msgspec.structs.replace(answer, usage=_spent(calls))
    call, ending = decisive(calls), ending_of(calls)
    well = answer.ending in _PROPER and any(one.ending is None for one in calls)
    if call is None or ending is None or well or answer.ending is Ending.KILLED:
        return answer
    return msgspec.structs.replace(
        answer,
        ending=ending,
        detail=f"{name}: {call.detail or answer.detail}",
        retry_after_s=call.retry_after_s,
    )


def _spent(calls: Sequence[Call]) -> Usage:
    costs = [call.cost_nano for call in calls if call.cost_nano is not None]
    return Usage(
        sum(call.tokens.input for call in calls),
        sum(call.tokens.output for call in calls),
        cost_usd=sum(costs) / NANO if costs else None,
    )


@contextmanager
def _prompt(job: Job, invocation: Invocation) -> Iterator[None]:
    """Keep the prompt in a file for a program that is told of one.

    It lies in the tree, under a name that nobody can have foreseen.
    """
    if not any(job.prompt_file in word for word in invocation.argv):
        yield
        return
    path = job.tree / job.prompt_file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(invocation.stdin.encode(errors="replace"))
        yield
    finally:
        if path.is_dir() and not path.is_symlink():  # what the agent made in its place
            remove(path)
        else:
            path.unlink(missing_ok=True)
