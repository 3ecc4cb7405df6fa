"""Perform one effect through the ports and say what came of it.

Each effect may be performed twice: a step that dies between acting and recording runs again. So the
comment is found by its key, the commit is the same for the same input, the push finds its own
commit, and the check run is one per head.

Work that costs, or that goes out, is fenced: it is not begun, and is stopped, once the generation
of the pull request has moved on.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

import msgspec
import structlog

from bot.config.schema import Policy
from bot.domain import effects
from bot.domain.answers import Ending
from bot.domain.effects import Effect, Outcome
from bot.domain.errors import BotError, Gone, TryLater
from bot.domain.inert import scrubbed
from bot.domain.models import Origin
from bot.domain.ports import Ports, Terms
from bot.domain.runs import Run
from bot.domain.values import (
    Check,
    CheckKind,
    CheckState,
    FailingStep,
    Ground,
    PullRef,
    Record,
)
from bot.failures.classify import classify
from bot.failures.evidence import Table, custom_table
from bot.repair import approvals, attempts
from bot.repair.guard import leaking
from bot.repair.messages import warned
from bot.repair.steps import run_lines
from bot.runtime.accounting import account
from bot.runtime.facts import REMEMBERED, observe
from bot.runtime.lanes import Keeper
from bot.runtime.proving import Prover

FENCED = (
    effects.ChooseBackend,
    effects.RunBackend,
    effects.Consult,
    effects.Verify,
    effects.OfferScratch,
    effects.BuildCommit,
    effects.BuildRevert,
    effects.Push,
    effects.CheckWords,
    effects.Rerun,
)
# Outcomes are stored, so they are cleaned. These are used as they are: a diff that adds a secret is
# dropped (`leaking`), the base branch's own files are read by all its readers anyway, and a name
# that we push to must stay what it is.
EXACT = frozenset({"diff", "repository_config", "manifests", "run_lines"}) | frozenset(
    {"repo", "head_repo", "head_branch", "base_branch", "workflow_path", "session"}
)
LONGEST_DIFF = 1_000_000  # characters; each diff becomes rows of the engine
LOGS_READ = 10  # failing checks whose logs one pass reads
CONFIG = ".github/regreen.toml"
MANIFESTS = (
    "autocoder.yaml",
    "pyproject.toml",
    "setup.cfg",
    "tox.ini",
    "pytest.ini",
    "uv.lock",
    "requirements.txt",
    "package.json",
    "go.mod",
    "Cargo.toml",
)

log = structlog.get_logger("regreen")


class Interpreter:
    """Performs the effects of passes; `sandbox` names the driver for the proof and its warning."""

    def __init__(self, ports: Ports, sandbox: str) -> None:
        self._ports = ports
        self._sandbox = sandbox
        self._lanes = Keeper(ports)
        self._prover = Prover(ports, sandbox)

    def perform(self, effect: Effect, generation: int, policy: Policy) -> Outcome:
        """Perform *effect* for a pass of *generation*; raise `TryLater` when it may work later."""
        if isinstance(effect, FENCED) and (stale := self._stale(effect, generation)):
            return effects.Superseded(stale)
        began = self._ports.clock.now()
        try:
            return scrubbed(self._perform(effect, generation, policy), keep=EXACT)
        except TryLater:
            raise
        except BotError as error:
            return effects.Refused(str(error))
        finally:
            took = self._ports.clock.now() - began
            self._ports.telemetry.took("effect", took, operation_type=type(effect).__name__)

    def _stale(self, effect: Effect, generation: int) -> str:
        fence = self._ports.runs.fence(_pull_of(effect))
        if fence.generation == generation:
            return ""
        return fence.reason or "the pull request has moved on"

    def _stop(self, pull: PullRef, generation: int) -> Callable[[], bool]:
        """Return the question that long work asks every second, whether it is stale."""
        return lambda: self._ports.runs.fence(pull).generation != generation

    def _perform(  # noqa: C901, PLR0911, PLR0912 -- one match over the closed union
        self, effect: Effect, generation: int, policy: Policy
    ) -> Outcome:
        match effect:
            case effects.ReadFacts():
                return effects.FactsRead(observe(effect.pull, self._ports))
            case effects.ReadFailures():
                return self._read_failures(effect)
            case effects.Comment():
                body = warned(effect.body, self._sandbox)
                return self._comment(msgspec.structs.replace(effect, body=body))
            case effects.ShowCard():
                summary = warned(effect.card.summary, self._sandbox)
                self._ports.checks.show(msgspec.structs.replace(effect.card, summary=summary))
                return effects.Done()
            case effects.ChooseBackend():
                return self._lanes.choose(effect, policy)
            case effects.Pause():  # the workflow has slept meanwhile
                return effects.Paused(self._ports.clock.now())
            case effects.RunBackend():
                return self._run_backend(effect, generation, policy)
            case effects.Consult():
                return self._consult(effect, generation, policy)
            case effects.Verify():
                return self._verify(effect, generation)
            case effects.Record():
                return self._prover.record(effect)
            case effects.OfferScratch():
                return self._prover.offer(effect)
            case effects.DropScratch():
                return self._prover.drop(effect)
            case effects.ReadProof():
                return self._prover.read(effect)
            case effects.BuildCommit():
                return self._build_commit(effect)
            case effects.BuildRevert():
                return self._build_revert(effect)
            case effects.SaveRun():
                self._save(effect.run)
                return effects.Done()
            case effects.Push():
                return self._push(effect)
            case effects.CheckWords():
                lost = self._lost(effect.pull.repo, effect.words)
                return effects.Refused(lost) if lost else effects.Done()
            case effects.Rerun():
                self._ports.checks.rerun(effect.pull.repo, effect.checks)
                return effects.Done()
            case effects.RetireMarkers():
                return self._retire_markers(effect.pull)
            case effects.Remember():
                at = self._ports.clock.now()
                self._ports.history.remember(effect.pull.repo, effect.observations, at)
                return effects.Done()
            case effects.EndPass():
                return self._end(effect)
            case _:
                assert_never(effect)

    # --- reading ---

    def _read_failures(self, effect: effects.ReadFailures) -> Outcome:
        paths = [CONFIG, *MANIFESTS]
        paths += sorted({check.workflow_path for check in effect.checks if check.workflow_path})
        remote = self._ports.repos.remote(effect.pull.repo, write=False)
        files = self._ports.trees.files(effect.pull.repo, effect.base, remote, paths)
        custom = custom_table(effect.patterns)
        steps = [
            self._step(effect.pull.repo, check, files, custom)
            for check in effect.checks[:LOGS_READ]
        ]
        steps = self._with_base(effect, self._with_records(effect.pull.repo, steps), custom)
        return effects.FailuresRead(
            steps=tuple(sorted(steps, key=lambda step: -step.signal.confidence)),
            repository_config=files.get(CONFIG, ""),
            manifests=tuple((path, files[path]) for path in MANIFESTS if path in files),
        )

    def _with_records(self, repo: str, steps: Sequence[FailingStep]) -> list[FailingStep]:
        """Add what is known of these very failures from before."""
        keys = [(step.check.name, step.signal.fingerprint) for step in steps]
        since = self._ports.clock.now() - REMEMBERED
        known = self._ports.history.records(repo, keys, since)
        return [
            msgspec.structs.replace(step, record=known.get(key, Record()))
            for step, key in zip(steps, keys, strict=True)
        ]

    def _with_base(
        self, effect: effects.ReadFailures, steps: Sequence[FailingStep], custom: Table | None
    ) -> list[FailingStep]:
        """Mark what fails in the same way on the tip of the base branch: it is not ours to mend."""
        repo = effect.pull.repo
        try:
            tip = self._ports.repos.tip(repo, effect.base_branch)
        except Gone:  # the branch was deleted: then nothing of it is broken
            return list(steps)
        names = {step.check.name for step in steps}
        broken = {
            check.name: check
            for check in self._ports.checks.at(repo, tip)
            if check.state is CheckState.FAILED and check.name in names
        }
        return [
            msgspec.structs.replace(step, upstream=True)
            if (there := broken.get(step.check.name)) and self._same(repo, step, there, custom)
            else step
            for step in steps
        ]

    def _same(self, repo: str, step: FailingStep, there: Check, custom: Table | None) -> bool:
        text = self._ports.checks.log(repo, there)
        signal = classify(text, step=there.name, failed_steps=there.failed_steps, custom=custom)
        return bool(signal.fingerprint) and signal.fingerprint == step.signal.fingerprint

    def _step(
        self, repo: str, check: Check, files: Mapping[str, str], custom: Table | None
    ) -> FailingStep:
        text = self._ports.checks.log(repo, check)
        signal = classify(
            text,
            step=check.name,
            failed_steps=check.failed_steps,
            now=self._ports.clock.now(),
            custom=custom,
        )
        lines: tuple[str, ...] = ()
        if check.kind is CheckKind.JOB:
            workflow = files.get(check.workflow_path, "")
            lines = run_lines(workflow, check.name, check.failed_steps)
        return FailingStep(check, signal, lines)

    # --- comments ---

    def _comment(self, effect: effects.Comment) -> Outcome:
        comments = self._ports.comments
        if effect.comment:
            try:
                comments.edit(effect.pull, effect.comment, effect.body)
            except Gone:  # a person deleted it, and with it the count: that is respected
                log.info("comment_gone", pull=str(effect.pull), comment=effect.comment)
            return effects.Commented(effect.comment)
        for one in comments.all(effect.pull):
            # Below its first line: what is quoted further down may say anything.
            if one.mine and one.body.split("\n", 2)[1:2] == [effect.key]:
                if one.body != effect.body:
                    comments.edit(effect.pull, one.id, effect.body)
                return effects.Commented(one.id)
        return effects.Commented(comments.post(effect.pull, effect.body))

    def _retire_markers(self, pull: PullRef) -> Outcome:
        for one in self._ports.comments.all(pull):
            if one.mine and attempts.read(one.body) is not None:
                self._ports.comments.edit(pull, one.id, attempts.retired(one.body))
        return effects.Done()

    # --- work ---

    def _run_backend(self, effect: effects.RunBackend, generation: int, policy: Policy) -> Outcome:
        for line in effect.announce:
            log.info(line)
        pull = effect.task.pull
        remote = self._ports.repos.remote(pull.repo, write=False)
        stop, began = self._stop(pull, generation), self._ports.clock.now()
        with self._ports.trees.open(pull.repo, effect.head, remote) as tree:
            if effect.onto:
                tree.apply(effect.onto)
            answer = self._ports.backends.run(
                effect.backend,
                fallback=effect.fallback,
                task=effect.task,
                tree=tree.path,
                stop=stop,
                terms=Terms(
                    resume=effect.resume,
                    origin=_origin(effect, pull),
                    provider=effect.provider,
                ),
            )
            diff = tree.diff() if answer.ending is Ending.EDITED else ""
            whole = len(diff) <= LONGEST_DIFF
            proofs = effect.preflight if whole else ()
            ground = Ground(pull.repo)  # a model wrote this tree: it may use what is stored
            early = self._prover.preflight(effect.run, tree.path, diff, proofs, stop, ground=ground)
        if len(diff) > LONGEST_DIFF:
            size = f"it changed {len(diff) // 1000} kB, more than a mend may be"
            answer, diff = msgspec.structs.replace(answer, ending=Ending.INVALID, detail=size), ""
        if stop():
            return effects.Superseded(self._ports.runs.fence(pull).reason)
        came = answer
        if answer.ending is Ending.EDITED and not diff.strip():
            came = msgspec.structs.replace(answer, ending=Ending.NO_CHANGE)
        fit, up = self._lanes.heard(effect, came, began, policy)
        leaks, now = leaking(diff), self._ports.clock.now()
        diff = "" if leaks else diff
        return effects.BackendEnded(answer, diff, now, early, leaks, fit=fit, up=up)

    def _consult(self, effect: effects.Consult, generation: int, policy: Policy) -> Outcome:
        """Ask all of them at once; each in a tree of its own, of which nothing is kept."""
        pull = effect.question.task.pull
        stop = self._stop(pull, generation)
        with ThreadPoolExecutor(max_workers=len(effect.backends)) as pool:
            asked = [pool.submit(self._opinion, effect, name, stop) for name in effect.backends]
            opinions = tuple(one.result() for one in asked)
        if stop():
            return effects.Superseded(self._ports.runs.fence(pull).reason)
        for one in opinions:
            self._lanes.opinion(effect, one.backend, one.answer, policy)
        return effects.Consulted(opinions, self._ports.clock.now())

    def _opinion(
        self, effect: effects.Consult, backend: str, stop: Callable[[], bool]
    ) -> effects.Opinion:
        pull = effect.question.task.pull
        repo = pull.repo
        remote = self._ports.repos.remote(repo, write=False)
        with self._ports.trees.open(repo, effect.head, remote) as tree:
            if effect.onto:
                tree.apply(effect.onto)
            answer = self._ports.backends.consult(
                backend,
                question=effect.question,
                tree=tree.path,
                within_s=effect.within_s,
                stop=stop,
                terms=Terms(origin=_origin(effect, pull)),
            )
        return effects.Opinion(backend, answer)

    def _verify(self, effect: effects.Verify, generation: int) -> Outcome:
        outcome = self._prover.verify(effect, self._stop(effect.pull, generation))
        if isinstance(outcome, effects.Verified):
            self._lanes.judged(effect, approved=outcome.verification.approved)
        return outcome

    def _build_commit(self, effect: effects.BuildCommit) -> Outcome:
        repo = effect.pull.repo
        remote = self._ports.repos.remote(repo, write=False)
        commit = self._ports.trees.commit(
            repo, effect.parent, effect.diff, effect.message, effect.at, remote
        )
        return effects.CommitBuilt(commit)

    def _build_revert(self, effect: effects.BuildRevert) -> Outcome:
        repo = effect.pull.repo
        remote = self._ports.repos.remote(repo, write=False)
        commit = self._ports.trees.restore(
            repo, effect.parent, effect.like, effect.message, effect.at, remote
        )
        return effects.CommitBuilt(commit)

    def _push(self, effect: effects.Push) -> Outcome:
        repo = effect.pull.repo
        if lost := self._lost(repo, effect.words):
            return effects.Refused(lost)
        remote = self._ports.repos.remote(repo, write=True)
        ended = self._ports.trees.push(repo, effect.branch, effect.commit, effect.lease, remote)
        if ended == "pushed":
            return effects.Pushed(self._ports.clock.now())
        if ended == "moved":
            return effects.HeadMoved("the head moved before the push")
        return effects.Refused(ended)

    def _lost(self, repo: str, words: Sequence[tuple[str, str]]) -> str:
        """Say on whose word a change may go out no more; empty when it may."""
        for login, role in words:
            if self._ports.repos.permission(repo, login) not in approvals.allowed(role):
                return (
                    f"{login}, on whose word this change goes out, has no {role} permission any "
                    "more, so nothing went out; somebody else may say /regreen fix"
                )
        return ""

    def _end(self, effect: effects.EndPass) -> Outcome:
        run, ports = effect.run, self._ports
        detail = {"pull": str(run.pull), "head": run.head, "reason": run.reason}
        key = f"{run.id}:{len(run.attempts)}:{run.state.value}:{run.updated_at.isoformat()}"
        self._save(run)
        ports.audit.append(key, f"run.{run.state.value}", run.id, detail)
        ports.telemetry.event("pass_ended", run=run.id, state=run.state.value, **detail)
        return effects.Done()

    def _save(self, run: Run) -> None:
        account(self._ports.runs.read(run.id), run, self._ports)
        self._ports.runs.save(run)


def _origin(effect: effects.RunBackend | effects.Consult, pull: PullRef) -> Origin:
    """Return on whose account calls go; an App is installed once for each owner."""
    owner = pull.repo.partition("/")[0]
    return Origin(effect.run, effect.attempt, pull, tenant=owner, backend="")


def _pull_of(effect: Effect) -> PullRef:
    match effect:
        case effects.RunBackend():
            return effect.task.pull
        case effects.Consult():
            return effect.question.task.pull
        case effects.ShowCard():
            return effect.card.pull
        case effects.SaveRun() | effects.EndPass():
            return effect.run.pull
        case _:
            return effect.pull
