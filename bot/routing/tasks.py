"""What kinds of task a repair is, the closest first, for `[task_routing]`.

Seed 3 names four kinds and leaves open what they are. Here: web development is a failure in files
of the web; an algorithm is one in what code does, elsewhere; simple is one step that a style or
type check failed; all else is complex. The type of failure is a kind as well, and the closest.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

from bot.domain.values import FailingStep, FailureType

WEB = frozenset(
    {".astro", ".css", ".html", ".js", ".jsx", ".less", ".mjs", ".scss", ".svelte", ".ts", ".tsx"}
    | {".vue"}
)
BEHAVIOUR = frozenset({FailureType.TEST_ASSERT, FailureType.RUNTIME})
SIMPLE = frozenset({FailureType.LINT, FailureType.TYPECHECK})


def kinds(steps: Sequence[FailingStep]) -> tuple[str, ...]:
    """Return the kinds of task that mending these failing steps is."""
    types = {step.signal.type for step in steps}
    places = {place.path for step in steps for place in step.signal.locations}
    web = sum(PurePosixPath(path).suffix.lower() in WEB for path in places)
    found = [next(iter(types)).value] if len(types) == 1 else []
    if web * 2 > len(places):
        found.append("web_development")
    elif types & BEHAVIOUR:
        found.append("algorithm_implementation")
    simple = len(steps) == 1 and types <= SIMPLE
    return (*found, "simple_tasks" if simple else "complex_tasks")
