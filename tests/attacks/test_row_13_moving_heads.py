"""Row 13: the head is moved while a repair is at work, to have it land on something unseen.

Controls: everything is fetched by its SHA, the pass is fenced by the pull request's generation, and
the push has an exact lease. Off (a push without one), somebody's commit is overwritten.
"""

from datetime import UTC, datetime

import pytest

from bot.domain import effects
from bot.domain.runs import RunState
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin
from tests.support.stories import World

AT = datetime(2026, 1, 2, tzinfo=UTC)
PATCH = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n"
STEPS = (
    effects.ReadFailures,
    effects.RunBackend,
    effects.Verify,
    effects.BuildCommit,
    effects.Push,
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_move_at_any_step_ends_without_a_push(step):
    moved = (
        effects.HeadMoved("the head moved before the push")
        if step is effects.Push
        else effects.Superseded("the pull request has a new head")
    )
    world = World(outcomes={step: moved})
    world.play()
    assert world.state() is RunState.SUPERSEDED
    assert world.run.pushed_at is None
    later = STEPS[STEPS.index(step) + 1 :]
    assert not any(world.made(kind) for kind in later)


@pytest.fixture
def origin(tmp_path) -> Origin:
    return Origin(tmp_path)


def test_the_lease_is_exact(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    commit = trees.commit("o/r", head, PATCH, "m", AT, origin.remote)
    theirs = origin.commit({"b": "theirs\n"})
    assert trees.push("o/r", "main", commit, head, origin.remote) == "moved"
    assert origin.at() == theirs
    held = trees.push("o/r", "main", commit, theirs, origin.remote)  # nor with the newer lease
    assert held.startswith("refused")
    assert origin.at() == theirs
    trees.close()
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    origin.git("push", "-q", "-f", str(origin.bare), f"{commit}:refs/heads/main", where=mirror)
    assert origin.at() == commit  # a push without a lease loses their commit
