"""A pass of the machine played against a small world, which answers as a shell would."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.config.schema import BackendName, Policy, RetryPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.effects import Effect, Outcome
from bot.domain.facts import RepairFacts
from bot.domain.health import Known, Observation
from bot.domain.runs import Request, Run, RunState, Wish
from bot.domain.values import (
    Card,
    Check,
    CheckKind,
    CheckState,
    CommandResult,
    Comment,
    FailingStep,
    FailureType,
    Pull,
    PullRef,
    Record,
    RunId,
    Severity,
    Sha,
    Signal,
    Usage,
    Verification,
)
from bot.repair import attempts, lanes, machine
from bot.routing import health
from bot.routing.scene import Scene

PULL = PullRef("octo/shop", 7)
HEAD, OTHER, PUSHED, UNDONE = (Sha(letter * 40) for letter in "abcd")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONGEST_PASS = 60  # effects
ONE_PASS = 4  # calls of a backend that is down: three in a row, and a trial after 5 s
DIFF = """\
diff --git a/app.py b/app.py
--- a/app.py
+++ b/app.py
@@ -1 +1 @@
-x = 1
+x = 2
"""


def a_pull(**changes) -> Pull:
    values = {
        "ref": PULL,
        "title": "Change x",
        "open": True,
        "draft": False,
        "head": HEAD,
        "head_branch": "topic",
        "head_repo": "octo/shop",
        "base": Sha("0" * 40),
        "base_branch": "main",
        "author": "mona",
        "author_id": 7,
    }
    return Pull(**{**values, **changes})


def a_check(name="test", state=CheckState.FAILED, **changes) -> Check:
    return Check(name=name, kind=changes.pop("kind", CheckKind.JOB), state=state, id=1, **changes)


def a_step(kind=FailureType.TEST_ASSERT, name="test", **changes) -> FailingStep:
    signal = Signal(
        type=kind,
        confidence=0.9,
        severity=Severity.MEDIUM,
        message=f"{name} broke",
        fingerprint=changes.pop("fingerprint", f"fp-{name}"),
        retry_after_s=changes.pop("retry_after_s", None),
        locations=changes.pop("locations", ()),
    )
    source = changes.pop("source", CheckKind.JOB)
    record, upstream = changes.pop("record", Record()), changes.pop("upstream", False)
    check = a_check(name, kind=source, **changes)
    return FailingStep(check, signal, ("pytest -q",), record, upstream)


def a_policy(**changes) -> Policy:
    values = {"primary": (BackendName("first", "model-1"),), "retry": RetryPolicy(jitter=False)}
    return Policy(**{**values, **changes})


def a_comment(number: int, body: str) -> Comment:
    return Comment(number, body, "regreen[bot]", 1, mine=True, created_at=NOON)


@dataclass
class World:
    """What is true at GitHub and in the sandbox; `play` runs passes against it."""

    policy: Policy = field(default_factory=a_policy)
    pull: Pull | None = field(default_factory=a_pull)
    checks: tuple[Check, ...] = field(default_factory=lambda: (a_check(),))
    steps: tuple[FailingStep, ...] = field(default_factory=lambda: (a_step(),))
    comments: list[Comment] = field(default_factory=list)
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    diffs: list[str] = field(default_factory=list)
    verdicts: list[bool] = field(default_factory=list)
    weakened: tuple[str, ...] = ()
    commits: list[Sha] = field(default_factory=list)  # in their order; PUSHED when there is none
    outcomes: dict[type, Outcome] = field(default_factory=dict)
    config: str = ""
    now: datetime = NOON
    tried: tuple[Check, ...] = ()  # the checks on the scratch branch
    upstream: tuple[str, ...] = ()
    opinions: dict[str, Answer] = field(default_factory=dict)
    recent: int = 0
    generation: int = 1
    newest: Run | None = None
    cards: list[Card] = field(default_factory=list)
    done: list[Effect] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    up: bool = False  # what a probe after a failure finds
    known: Known = field(default_factory=Known)

    @property
    def run(self) -> Run:
        assert self.newest is not None
        return self.newest

    @property
    def gate(self) -> str:
        waiting = self.newest.gate if self.newest is not None else None
        return waiting.id if waiting is not None else ""

    def state(self) -> RunState:
        return self.run.state

    def play(
        self,
        wish: Wish = Wish.LOOK,
        why: str = "",
        *,
        asked_at: Sha | None = None,
        by: str = "",
        gate: str | None = None,
    ) -> list[str]:
        """Play one pass; return the names of its effects.

        Who asks saw the head and the gate as they are, if no other is named.
        """
        state, effect = machine.begin(
            self.policy,
            PULL,
            run_id=RunId(f"run-{len(self.done)}"),
            generation=self.generation,
            newest=self.newest,
            request=Request(
                wish,
                why,
                asked_at or (self.pull.head if self.pull else None),
                by,
                self.gate if gate is None else gate,
            ),
        )
        names: list[str] = []
        while effect is not None:
            assert len(names) < LONGEST_PASS, f"the pass does not end: {names}"
            names.append(type(effect).__name__)
            self.done.append(effect)
            state, effect = machine.advance(state, self.answer(effect))
        return names

    def answer(self, effect: Effect) -> Outcome:  # noqa: C901, PLR0911, PLR0912 -- one match over the union
        if type(effect) in self.outcomes:
            return self.outcomes[type(effect)]
        match effect:
            case effects.ReadFacts():
                facts = RepairFacts(
                    self.now, self.pull, self.checks, tuple(self.comments), self.recent
                )
                return effects.FactsRead(facts)
            case effects.ReadFailures():
                return effects.FailuresRead(self.steps, self.config)
            case effects.Comment():
                return effects.Commented(self.comment(effect))
            case effects.ChooseBackend():
                return self.choose(effect)
            case effects.Pause():
                self.later(effect.seconds)
                self.pauses.append(effect.seconds)
                return effects.Paused(self.now)
            case effects.RunBackend():
                return self.backend(effect)
            case effects.Verify():
                good = self.verdicts.pop(0) if self.verdicts else True
                result = CommandResult(
                    name="test",
                    command="pytest -q",
                    exit_code=0 if good else 1,
                    passed=good,
                    allow_fail=False,
                    seconds=0.5,
                    output=f"out {len(self.done)}",
                )
                verdict = Verification(
                    good,
                    "ok" if good else "test failed",
                    (result,),
                    "d",
                    "a",
                    weakened=self.weakened,
                    at=self.now,
                )
                return effects.Verified(verdict, self.now)
            case effects.BuildCommit():
                return effects.CommitBuilt(self.commits.pop(0) if self.commits else PUSHED)
            case effects.BuildRevert():
                return effects.CommitBuilt(UNDONE)
            case effects.Consult():
                said = Answer(Ending.NO_CHANGE, f"said by {effect.question.purpose}")
                opinions = [
                    effects.Opinion(name, self.opinions.get(name, said)) for name in effect.backends
                ]
                return effects.Consulted(tuple(opinions), self.now)
            case effects.Push() | effects.OfferScratch():
                return effects.Pushed(self.now)
            case effects.Record():
                return effects.Recorded(effect.verification, self.now)
            case effects.ReadProof():
                return effects.ProofRead(self.tried, self.upstream, (), self.now)
            case effects.SaveRun():
                self.newest = effect.run
            case effects.ShowCard():
                self.cards.append(effect.card)
            case effects.RetireMarkers():
                self.comments = [a_comment(c.id, attempts.retired(c.body)) for c in self.comments]
            case effects.EndPass():
                self.newest = effect.run
                if effect.wake_after_s is not None:
                    self.wakes.append(effect.wake_after_s)
            case (
                effects.Rerun() | effects.Remember() | effects.DropScratch() | effects.CheckWords()
            ):
                pass
        return effects.Done()

    def comment(self, effect: effects.Comment) -> int:
        for at, one in enumerate(self.comments):
            if one.id == effect.comment or effect.key in one.body:
                self.comments[at] = a_comment(one.id, effect.body)
                return one.id
        number = len(self.comments) + 1
        self.comments.append(a_comment(number, effect.body))
        return number

    def backend(self, effect: effects.RunBackend) -> Outcome:
        planned = self.answers.get(effect.backend)
        if isinstance(planned, list):
            planned = planned.pop(0)
        answer = planned or Answer(Ending.EDITED, "done", usage=Usage(10, 5, 0.01, 1.0))
        diff = self.diffs.pop(0) if self.diffs else DIFF
        fit = self.heard(effect, answer) if effect.lane else True
        return effects.BackendEnded(
            answer, diff if answer.ending is Ending.EDITED else "", self.now, fit=fit, up=self.up
        )

    def choose(self, ask: effects.ChooseBackend) -> Outcome:
        """Choose as the shell does, by what is known in this world."""
        self.known, found = lanes.chosen(ask, self.policy, self.known, self.now)
        return lanes.told(ask, self.policy, found, self.now)

    def heard(self, effect: effects.RunBackend, answer: Answer) -> bool:
        seen = Observation(answer.ending, retry_after_s=answer.retry_after_s)
        self.known = lanes.heard(effect.lane, seen, self.policy, self.known, self.now)
        scene = Scene(self.now, self.known.healths)
        tier = lanes.tier(self.policy, fallback=effect.fallback)
        return health.fit(effect.lane, tier, scene, self.policy.routing)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def made(self, kind: type[Any]) -> list[Any]:
        return [effect for effect in self.done if isinstance(effect, kind)]
