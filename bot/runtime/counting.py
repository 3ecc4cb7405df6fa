"""Has the change left all tests in place? Asked once its proof has passed, and not before."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bot.domain import effects
from bot.domain.ports import Ports
from bot.domain.values import CommandResult, Counted, Ground, Remote
from bot.repair.counted import fewer


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


def weakened(
    ports: Ports,
    effect: effects.Verify,
    remote: Remote,
    after: Sequence[Counted] | None,
    stop: Callable[[], bool],
) -> tuple[str, ...]:
    """Return how the changed tree asks less of its tests than a fresh tree at the head does."""
    if after is None:
        return ()
    with ports.trees.open(effect.pull.repo, effect.head, remote) as tree:
        ground = Ground(effect.pull.repo, effect.trusted)
        before = ports.gatekeeper.tests(tree.path, effect.commands, stop, ground, ran=False)
    return fewer(before, after)
