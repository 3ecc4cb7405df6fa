"""Two strategies on live traffic: who gets which, and which is better, and how sure that is.

A pull request belongs to a side by a hash of its name, so that all its attempts go the same way
and any process gives the same answer.
"""

from collections.abc import Sequence
from math import exp, lgamma, log

from bot.config.schema import RoutingPolicy, Strategy
from bot.domain.runs import Run, RunState
from bot.domain.values import Value
from bot.routing.strategies import chance

SURE = 0.95
JUDGED = (RunState.GREEN, RunState.GAVE_UP, RunState.BLOCKED, RunState.WAITING_PERSON)


class Tally(Value, frozen=True):
    """What became of the pull requests of one side; `cost_usd` and `seconds` are sums."""

    strategy: Strategy
    runs: int = 0
    green: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0


def tallies(runs: Sequence[Run], policy: RoutingPolicy) -> tuple[Tally, ...]:
    """Return what became of the runs of each side, () when nothing is compared.

    A run counts once it has ended by itself or waits for a person; one that a push overtook, or a
    person stopped, says nothing of its backends.
    """
    return tuple(_tally(side, runs) for side in policy.compare)


def _tally(side: Strategy, runs: Sequence[Run]) -> Tally:
    mine = [
        run
        for run in runs
        if run.state in JUDGED and any(one.side == side.value for one in run.attempts)
    ]
    return Tally(
        side,
        runs=len(mine),
        green=sum(run.state is RunState.GREEN for run in mine),
        cost_usd=sum(one.usage.cost_usd or 0.0 for run in mine for one in run.attempts),
        seconds=sum((run.updated_at - run.started_at).total_seconds() for run in mine),
    )


class Comparison(Value, frozen=True):
    """Which strategy makes more pull requests green; `sure` is the probability that it does.

    `better` is None until that is at least `SURE`. `rates` are the shares made green, `expected` is
    by how much they may be thought to differ.
    """

    better: Strategy | None
    leading: Strategy
    sure: float
    rates: tuple[float, float]
    expected: float
    said: str


def assigned(policy: RoutingPolicy, repo: str, number: int) -> Strategy | None:
    """Return the strategy of a pull request's side, None when nothing is compared."""
    if len(policy.compare) != 2 or not repo:  # noqa: PLR2004 -- the two sides
        return None
    first, second = policy.compare
    sides = f"{first.value}|{second.value}"
    return second if chance(f"{sides}|{repo}#{number}") < policy.compare_share else first


def compare(one: Tally, other: Tally) -> Comparison:
    """Say which side is better, from the posterior of both rates under a uniform prior."""
    sure = 1 - beats(one, other)
    leading, trailing, sure = (other, one, sure) if sure >= 0.5 else (one, other, 1 - sure)  # noqa: PLR2004
    rates = (_rate(leading), _rate(trailing))
    better = leading.strategy if sure >= SURE else None
    verdict = "is better than" if better else "may be better than"
    said = (
        f"{leading.strategy.value} {verdict} {trailing.strategy.value} ({sure:.1%} sure): "
        f"{leading.green} of {leading.runs} green against {trailing.green} of {trailing.runs}"
    )
    return Comparison(better, leading.strategy, sure, rates, rates[0] - rates[1], said)


def beats(one: Tally, other: Tally) -> float:
    """Return the probability that the first side's true rate is the higher one.

    Exact for Beta posteriors with whole parameters: E. Miller, "Formulas for Bayesian A/B testing"
    (evanmiller.org/bayesian-ab-testing.html), equation 6.
    """
    a, b = 1 + other.green, 1 + other.runs - other.green
    c, d = 1 + one.green, 1 + one.runs - one.green
    return min(
        1.0,
        sum(
            exp(_log_beta(a + i, b + d) - log(d + i) - _log_beta(1 + i, d) - _log_beta(a, b))
            for i in range(c)
        ),
    )


def _rate(tally: Tally) -> float:
    return (tally.green + 1) / (tally.runs + 2)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
