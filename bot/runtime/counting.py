"""Has the change left all tests in place? Asked once its proof has passed, and not before."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.domain import effects
from bot.domain.ports import Ports
from bot.domain.values import CommandResult, Counted, Ground, Remote
from bot.repair.counted import fewer

KEPT = 16  # heads; thousands of tests each


def changed(
    ports: Ports,
    effect: effects.Verify,
    tree: Path,
    results: Sequence[CommandResult],
    stop: Callable[[], bool],
) -> Sequence[Counted] | None:
    """Return the tests of the changed tree; None when its proof has failed or is stale."""
    failed = any(not one.passed and not one.allow_fail for one in results)
    if failed or not results or stop():
        return None
    ground = Ground(effect.pull.repo)  # what ran in this tree is not trusted
    return ports.gatekeeper.tests(tree, effect.commands, stop, ground, ran=True)


class Heads:
    """The tests of the heads that were listed last: a run may prove several changes of one head.

    To list them costs a tree, a set-up and, for some runners, a whole run of the tests. What was
    stopped is not kept, nor is an answer without any test: a later one may tell.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], Sequence[Counted]] = OrderedDict()

    def weakened(
        self,
        ports: Ports,
        effect: effects.Verify,
        remote: Remote,
        after: Sequence[Counted] | None,
        stop: Callable[[], bool],
    ) -> tuple[str, ...]:
        """Return how the changed tree asks less of its tests than a fresh one at the head does."""
        if after is None:
            return ()
        key = (effect.run, effect.head, effect.commands)
        before = self._known.get(key)
        if before is None:
            before = _at_head(ports, effect, remote, stop)
            if before and not stop():
                self._known[key] = before
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return fewer(before, after)


def _at_head(
    ports: Ports, effect: effects.Verify, remote: Remote, stop: Callable[[], bool]
) -> Sequence[Counted]:
    with ports.trees.open(effect.pull.repo, effect.head, remote) as tree:
        ground = Ground(effect.pull.repo, effect.trusted)
        return ports.gatekeeper.tests(tree.path, effect.commands, stop, ground, ran=False)
