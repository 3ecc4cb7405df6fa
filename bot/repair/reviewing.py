"""The review drain (seed 1): other models look at a proved change before it goes out.

advisory   what they say stands in the report
consensus  the change is rejected when most of those who gave a verdict say no
gate       one no rejects it

The repository may ask for a stricter mode than the platform's, never for a milder one. Where the
review decides and nobody gives a verdict, a person has to: a gate that nobody keeps is none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.config.schema import ReviewMode
from bot.domain import effects
from bot.domain.answers import Ending
from bot.domain.values import Purpose, Question, Review, ReviewFinding, Task
from bot.repair import guard
from bot.repair.closing import Pass, Phase, Step

GATE = "review"  # the approval without which an unreviewed change does not go out
VERDICT = re.compile(r"^\s*VERDICT:\s*(yes|no)\b", re.IGNORECASE | re.MULTILINE)
FINDING = re.compile(
    r"^\s*[-*]\s*\[?(?P<severity>critical|high|medium|low|P[0-3])\]?[:\s]+"
    r"(?:(?P<file>[\w./@+-]+\.\w+|[\w.-]+(?:/[\w.@+-]+)+)(?::\d+)*:\s+)?(?P<message>\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
MOST_FINDINGS = 20
_RANK = {mode: rank for rank, mode in enumerate(ReviewMode)}


@dataclass(frozen=True, slots=True)
class Heard:
    """What a review came to; `holds` says that a person must let the change out."""

    review: Review
    holds: bool = False


def mode(state: Pass) -> ReviewMode:
    """Return how strict the review is: as the platform or the repository says, if anyone can."""
    if not state.policy.reviewers:
        return ReviewMode.OFF
    return max(state.policy.review.mode, state.review, key=_RANK.__getitem__)


def ask(state: Pass, task: Task) -> Step:
    """Ask all reviewers at once."""
    run, number = state.open_run, state.attempt.number
    question = Question(Purpose.REVIEW, task, diff=state.diff)
    names = tuple(one.name for one in state.policy.reviewers)
    within_s = state.policy.review.within_s
    consult = effects.Consult(names, run.head, question, within_s, run.id, number, state.diff)
    return replace(state, phase=Phase.REVIEWING), consult


def judge(by: ReviewMode, opinions: Sequence[effects.Opinion]) -> Heard:
    """Return what the reviewers decide; an answer without a verdict is none."""
    said = [one for one in opinions if one.answer.ending is Ending.NO_CHANGE]
    given = [one for one in said if VERDICT.search(one.answer.text)]
    texts = [guard.redact(one.answer.text) for one in given]
    against = [one for one in texts if (found := VERDICT.search(one)) and found[1].lower() == "no"]
    findings = tuple(one for text in texts for one in _findings(text))[:MOST_FINDINGS]
    refused = {
        ReviewMode.OFF: False,
        ReviewMode.ADVISORY: False,
        ReviewMode.CONSENSUS: 2 * len(against) > len(given),
        ReviewMode.GATE: bool(against),
    }[by]
    holds = not given and by in (ReviewMode.CONSENSUS, ReviewMode.GATE)
    review = Review(
        approved=not refused and not holds,
        skipped=not given,
        reason=_reason(len(given), against),
        mode=by.value,
        engines=tuple(one.backend for one in given),
        findings=findings,
    )
    return Heard(review, holds)


def _reason(given: int, against: Sequence[str]) -> str:
    if not given:
        return "no reviewer gave a verdict"
    if not against:
        return f"{given} of {given} reviewers agree"
    words = " ".join(VERDICT.sub("", against[0]).split())[:600]
    return f"{len(against)} of {given} reviewers say no: {words}"


def _findings(text: str) -> list[ReviewFinding]:
    return [
        ReviewFinding(
            found["severity"].lower(), found["message"].strip()[:500], found["file"] or ""
        )
        for found in FINDING.finditer(text)
    ]
