"""What becomes of an attempt that a budget of ours, or this machine, keeps from its work.

No other backend changes that, so nothing more is asked and the attempt is not counted. A budget of
the day begins anew at midnight UTC: the run waits for it and goes on by itself. Everything else is
a person's, and so is a budget that a few days in a row were not enough for.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from bot.domain.answers import Answer, Ending
from bot.domain.effects import Opinion
from bot.domain.runs import Result, RunState
from bot.repair import guard
from bot.repair.closing import Pass, Step, close, escalate, with_attempt

MOST_WAITS = 3  # for one attempt: each may spend a day's budget and bring nothing
MARGIN_S = 1.0  # whoever looks at midnight sharp may still see the old day


def halted(state: Pass, answer: Answer, person: str, at: datetime) -> Step:
    """Wait for a budget that begins anew; else have a person see to what *person* says."""
    reason = f"{person}: {guard.redact(answer.detail)}. Then say /regreen fix"
    if answer.ending is Ending.BUDGET:
        if waits(state, answer):
            return wait(state, answer, at)
        reason = (
            f"a budget is used up: {guard.redact(answer.detail)}. Raise it, or wait until it "
            "begins anew, and say /regreen fix"
        )
    return escalate(with_attempt(state, unpaid=True), reason, at)


def waits(state: Pass, answer: Answer) -> bool:
    """Tell whether the run waits by itself until the budget begins anew."""
    return answer.retry_after_s is not None and state.attempt.capped < MOST_WAITS


def wait(state: Pass, answer: Answer, at: datetime, what: str = "") -> Step:
    """Wait until the budget begins anew, then make the attempt; *what* could not be done."""
    wait_s = (answer.retry_after_s or 0.0) + MARGIN_S
    until = at + timedelta(seconds=wait_s)
    why = f"a budget is used up, I go on at {until:%Y-%m-%d %H:%M} UTC"
    reason = f"{what}{why}: {guard.redact(answer.detail)}"
    capped = state.attempt.capped + 1
    state = with_attempt(state, result=Result.WORKING, unpaid=True, capped=capped, reason=reason)
    state = replace(state, run=msgspec.structs.replace(state.open_run, wake_at=until))
    return close(state, RunState.WAITING_DELAY, reason, wake_after_s=wait_s)


def capped(opinions: Sequence[Opinion]) -> Answer | None:
    """Return the budget's refusal to go by where nobody judged and one was kept by a budget.

    That is the one of the budget that begins anew first; None where no budget kept anyone.
    """
    refused = [one.answer for one in opinions if one.answer.ending is Ending.BUDGET]
    known = [one for one in refused if one.retry_after_s is not None]
    return min(known or refused[:1], key=lambda one: one.retry_after_s or 0.0, default=None)
