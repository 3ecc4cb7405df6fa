"""The durable functions. Killed anywhere, they go on where they were, without doing anything twice.

    react    one event: gather its facts, decide, answer who asked, and let a pass follow
    launch   a settled pull request: put a pass into the pull request's own queue
    repair   one pass: play the machine, an effect a step
    drop     a scratch branch that could not be deleted: try again, some times

Passes of one pull request never overlap: their queue is partitioned by it. Events are debounced by
a delayed `launch` that all of them share. Waiting is a delayed pass, never a sleeping workflow:
only an outage of GitHub or the database sleeps, for the effect it interrupts must not be lost.

The engine replays these functions, so they read no clock and decide by recorded outcomes alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from hashlib import sha256
from typing import Any

import structlog
from dbos import DBOS, DBOSConfiguredInstance, SetEnqueueOptions, SetWorkflowID

import handlers
from bot.config.schema import Policy
from bot.domain import effects
from bot.domain.decisions import (
    Acknowledge,
    Decision,
    Ignore,
    Judge,
    Reset,
    Settle,
    Stop,
    Supersede,
    Tell,
    Verdict,
)
from bot.domain.effects import Effect, Outcome
from bot.domain.errors import BotError, TryLater
from bot.domain.events import Event
from bot.domain.ports import Ports
from bot.domain.runs import Request, Run, Wish
from bot.domain.values import PullRef, RunId, Variant
from bot.repair import machine, scratch
from bot.runtime.accounting import refused
from bot.runtime.codec import dump, load
from bot.runtime.facts import about, gather
from bot.runtime.interpreter import Interpreter

EVENTS = "events"
PULLS = "pulls"
LONGEST_SLEEP_S = 300.0
RECOVERIES = 100  # restarts that a workflow survives: innocent ones add up, so ten lost runs

log = structlog.get_logger("regreen")


class Later(Variant, frozen=True):
    """A step's answer when the outside is away: ask again after `after_s`."""

    reason: str
    after_s: float


class Opening(Variant, frozen=True):
    """What a pass begins with; recorded, so that it keeps its policy from beginning to end."""

    policy: Policy
    generation: int
    newest: Run | None
    stopped: int = 0

    @property
    def stopping(self) -> bool:
        """Whether a person's stop waits for its turn: until then nothing else may begin."""
        return self.stopped > (self.newest.generation if self.newest is not None else 0)


@DBOS.dbos_class("repairs")
class Repairs(DBOSConfiguredInstance):
    """The durable functions over the ports; `live` are the workflow bodies that run here now.

    `workers` is how many backends and verifications may be at work at one time; passes that only
    wait, for GitHub or for their turn, are not counted.
    """

    def __init__(
        self,
        ports: Ports,
        interpreter: Interpreter,
        policy: Callable[[], Policy],
        name: str,
        *,
        workers: int,
    ) -> None:
        self._ports = ports
        self._interpreter = interpreter
        self._policy = policy
        self._room = asyncio.Semaphore(workers)
        self.live: set[str] = set()
        super().__init__(name)

    # --- one event ---

    @DBOS.workflow(name="react", max_recovery_attempts=RECOVERIES)
    async def react(self, event: str) -> str:
        """Decide about one event and let its consequences follow."""
        with self._alive():
            decisions: tuple[Decision, ...] = await self._again(
                lambda: self._decide(event), tuple[Decision, ...]
            )
            for decided in decisions:
                if decided.acknowledge is not None:
                    answer = dump(decided.acknowledge)
                    await self._again(partial(self._acknowledge, answer), effects.Done)
                await self._follow(decided.verdict)
            return ", ".join(type(decided.verdict).__name__ for decided in decisions)

    @DBOS.step(name="decide")
    async def _decide(self, event: str) -> str:
        hint: Event = load(event, Event)

        def decide() -> tuple[Decision, ...]:
            events = about(hint, self._ports.pulls, self._ports.runs)
            decided = tuple(
                handlers.decide(one, gather(one, handlers.needs(one), self._ports))
                for one in events
            )
            for one, answer in zip(events, decided, strict=True):
                refused(one, answer, self._ports.audit, key=DBOS.workflow_id or "")
            return decided

        return await self._shielded(decide, lambda reason: (Decision(Ignore(reason)),))

    @DBOS.step(name="acknowledge")
    async def _acknowledge(self, text: str) -> str:
        answer: Acknowledge = load(text, Acknowledge)

        def acknowledge() -> effects.Done:
            comments = self._ports.comments
            comments.react(answer.pull, answer.comment, answer.reaction)
            if answer.reply:
                mark = f"<!-- regreen reply to={answer.comment} -->"
                if not any(c.mine and mark in c.body for c in comments.all(answer.pull)):
                    comments.post(answer.pull, f"{answer.reply}\n\n{mark}")
            return effects.Done()

        return await self._shielded(acknowledge, lambda _: effects.Done())

    async def _follow(self, verdict: Verdict) -> None:
        match verdict:
            case Ignore() | Tell():
                pass
            case Settle():
                wish = Wish.FIX if verdict.again else Wish.LOOK
                if verdict.now:
                    request = Request(wish, verdict.reason, verdict.head, verdict.by)
                    await self._enqueue_pass(verdict.pull, request)
                else:
                    await self._settle(verdict.pull)
            case Judge():
                wish = Wish.APPROVE if verdict.approved else Wish.REJECT
                request = Request(wish, verdict.reason, verdict.head, verdict.by, verdict.gate)
                await self._enqueue_pass(verdict.pull, request)
            case Supersede():
                await self._again(lambda: self._fence(dump(verdict)), effects.Done)
                if verdict.settle:
                    await self._settle(verdict.pull)
                else:
                    await self._enqueue_pass(verdict.pull, Request(why=verdict.reason))
            case Stop():
                await self._again(lambda: self._fence(dump(verdict)), effects.Done)
                await self._enqueue_pass(verdict.pull, Request(Wish.STOP, verdict.reason))
            case Reset():
                await self._enqueue_pass(verdict.pull, Request(Wish.RESET, verdict.reason))

    @DBOS.step(name="fence")
    async def _fence(self, text: str) -> str:
        """Make what is at work stale: a new head once per head, all else once per event."""
        verdict: Supersede | Stop = load(text, Supersede | Stop)
        key = DBOS.workflow_id or ""

        def fence() -> effects.Done:
            if isinstance(verdict, Supersede) and verdict.settle:
                self._ports.runs.advance(verdict.pull, verdict.head, verdict.reason)
            else:
                stop = isinstance(verdict, Stop)
                self._ports.runs.bump(verdict.pull, verdict.reason, key=key, stop=stop)
            return effects.Done()

        return await self._shielded(fence, lambda _: effects.Done())

    # --- from events to passes ---

    async def _settle(self, pull: PullRef) -> None:
        """Let one launch follow once the pull request's checks had time to settle."""
        with (
            SetWorkflowID(f"launch:{_short(DBOS.workflow_id, str(pull))}"),
            SetEnqueueOptions(
                deduplication_id=str(pull),
                duplication_policy="return-existing",
                delay_seconds=self._policy().settle_s,
            ),
        ):
            await DBOS.enqueue_workflow_async(EVENTS, self.launch, pull.repo, pull.number)

    @DBOS.workflow(name="launch", max_recovery_attempts=RECOVERIES)
    async def launch(self, repo: str, number: int) -> None:
        """Hop into the pull request's queue: a deduplicated enqueue cannot carry its key."""
        with self._alive():
            await self._enqueue_pass(PullRef(repo, number), Request(why="its checks have settled"))

    async def _enqueue_pass(self, pull: PullRef, request: Request, *, delay_s: float = 0.0) -> None:
        with (
            SetWorkflowID(f"pass:{_short(DBOS.workflow_id, request.wish.value, str(pull))}"),
            SetEnqueueOptions(queue_partition_key=str(pull), delay_seconds=delay_s or None),
        ):
            await DBOS.enqueue_workflow_async(
                PULLS, self.repair, pull.repo, pull.number, dump(request)
            )

    # --- one pass ---

    @DBOS.workflow(name="repair", max_recovery_attempts=RECOVERIES)
    async def repair(self, repo: str, number: int, asked: str) -> str:
        """Play one pass of the machine to its end."""
        pull, request = PullRef(repo, number), load(asked, Request)
        with self._alive():
            opening: Opening = await self._again(lambda: self._open(repo, number), Opening)
            if opening.stopping and request.wish is Wish.LOOK:
                return "a stop comes first"
            state, effect = machine.begin(
                opening.policy,
                pull,
                run_id=RunId(_short(DBOS.workflow_id)),
                generation=opening.generation,
                newest=opening.newest,
                request=request,
            )
            while effect is not None:
                outcome = await self._carry_out(effect, opening)
                if isinstance(effect, effects.EndPass) and effect.wake_after_s is not None:
                    await self._enqueue_pass(
                        pull, Request(why="it has waited"), delay_s=effect.wake_after_s
                    )
                if isinstance(effect, effects.DropScratch):
                    await self._drop_again(effect, outcome, opening.policy, tried=1)
                # Off the loop: reading a large diff takes a second, and the intake must not wait.
                state, effect = await asyncio.to_thread(machine.advance, state, outcome)
            return state.run.state.value if state.run is not None else "nothing to do"

    @DBOS.workflow(name="drop", max_recovery_attempts=RECOVERIES)
    async def drop(self, repo: str, number: int, branch: str, tried: int) -> str:
        """Try once more to delete a scratch branch; its run has long gone on without it."""
        pull = PullRef(repo, number)
        with self._alive():
            opening: Opening = await self._again(lambda: self._open(repo, number), Opening)
            if scratch.waits_on(opening.newest, branch):
                return "it is in use again"
            effect = effects.DropScratch(pull, branch)
            outcome = await self._carry_out(effect, opening)
            await self._drop_again(effect, outcome, opening.policy, tried=tried + 1)
            return type(outcome).__name__

    async def _drop_again(
        self, effect: effects.DropScratch, outcome: Outcome, policy: Policy, *, tried: int
    ) -> None:
        """Have a scratch branch that stays deleted later, among the pull request's passes."""
        if not isinstance(outcome, effects.Refused):
            return
        pull, branch = effect.pull, effect.branch
        told = {"pull": str(pull), "branch": branch, "reason": outcome.reason, "tried": tried}
        delay_s = scratch.drop_again_s(policy.gatekeeper, tried)
        if delay_s is None:
            log.error("scratch_branch_stays", **told)
            return
        log.warning("scratch_branch_waits", seconds=delay_s, **told)
        with (
            SetWorkflowID(f"drop:{_short(DBOS.workflow_id, branch)}"),
            SetEnqueueOptions(queue_partition_key=str(pull), delay_seconds=delay_s),
        ):
            await DBOS.enqueue_workflow_async(
                PULLS, self.drop, pull.repo, pull.number, branch, tried
            )

    async def _carry_out(self, effect: Effect, opening: Opening) -> Outcome:
        if isinstance(effect, effects.Pause):  # durably, and holding neither a thread nor a place
            await DBOS.sleep_async(effect.seconds)
        text = dump(effect)
        outcome: Outcome = await self._again(lambda: self._perform(text, opening), Outcome)
        return outcome

    @DBOS.step(name="open")
    async def _open(self, repo: str, number: int) -> str:
        pull = PullRef(repo, number)

        def open_pass() -> Opening:
            runs = self._ports.runs
            fence = runs.fence(pull)
            return Opening(self._policy(), fence.generation, runs.newest(pull), fence.stopped)

        return await self._attempted(open_pass)

    @DBOS.step(name="perform")
    async def _perform(self, text: str, opening: Opening) -> str:
        effect: Effect = load(text, Effect)
        costly = isinstance(effect, effects.RunBackend | effects.Consult | effects.Verify)
        async with self._room if costly else nullcontext():
            return await self._shielded(
                lambda: self._interpreter.perform(effect, opening.generation, opening.policy),
                effects.Refused,
            )

    # --- the border between the durable functions and the world ---

    async def _again(self, step: Callable[[], Awaitable[str]], kind: Any) -> Any:
        """Run a step until it did not ask for later; between tries the workflow sleeps durably."""
        while True:
            answer = load(await step(), kind | Later)
            if not isinstance(answer, Later):
                return answer
            log.warning("waiting", reason=answer.reason, seconds=answer.after_s)
            await DBOS.sleep_async(min(max(answer.after_s, 0.5), LONGEST_SLEEP_S))

    async def _attempted(self, work: Callable[[], object]) -> str:
        """Run blocking work off the loop; an outage becomes an answer to wait on."""
        try:
            return dump(await asyncio.to_thread(work))
        except TryLater as error:
            return dump(Later(str(error), error.after_s))

    async def _shielded(self, work: Callable[[], object], failed: Callable[[str], object]) -> str:
        """Run work; what it cannot do becomes an answer too: a fixer that dies must say so."""
        try:
            return await self._attempted(work)
        except BotError as error:
            log.warning("refused", reason=str(error))
            return dump(failed(str(error)))
        except (
            Exception
        ) as error:  # the shell's boundary: report, and let the machine close the run
            log.exception("internal_error")
            return dump(failed(f"an internal error ({type(error).__name__}); the log has the rest"))

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Mark this workflow's body as running here, for the search for orphans."""
        workflow = DBOS.workflow_id or ""
        self.live.add(workflow)
        try:
            yield
        finally:
            self.live.discard(workflow)


def _short(*parts: str | None) -> str:
    """Return a short id from longer ones; the same parts, the same id."""
    return sha256("\n".join(part or "" for part in parts).encode()).hexdigest()[:16]
