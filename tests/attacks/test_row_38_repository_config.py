"""Row 38: a repository's configuration that is a bomb, or says what nobody understands.

Controls: `bot/repair/repository.py` bounds size and depth, allows no alias and no unknown key, and
a file that it refuses stops everything; the line is in each answer. A large file is not taken for
one that is not there (`GitTrees.files`). The run then asks a person, in one comment, once.
"""

import resource

import pytest

from bot.domain.errors import ConfigError
from bot.domain.runs import RunState
from bot.domain.values import Sha
from bot.repair import repository
from bot.repair.commands import commands_for
from bot.repair.repository import MAX_BYTES
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.controls import switched_off
from tests.support.origins import Origin
from tests.support.stories import World, a_check, a_pull

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
BOMBS = {
    "large": "#" * (MAX_BYTES + 1),
    "deep": "x = " + "[" * 30_000,
    "deep tables": "x = " + "{a = " * 30 + "1" + "}" * 30,
    "dotted": "[" + "a." * 30 + "a]\n",
    "unknown": "[commands]\ntest = 'make'\n[comands]\ntest = 'true'\n",
}
YAML_BOMBS = {
    "laughs": LAUGHS,
    "large": "#" * (MAX_BYTES + 1),
    "deep": "x: " + "[" * 30_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(60)),
    "twice": "commands: {test: make}\ncommands: {test: 'true'}\n",
    "merge": "a: {b: 1}\n<<: *a\n",
    "unknown": "comands: {test: 'true'}\n",
}


def told(world: World) -> list[str]:
    return [line for one in world.comments for line in one.body.splitlines()]


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_with_its_line_in_one_comment_once(bomb):
    before = memory_mb()
    world = World(config=BOMBS[bomb])
    assert world.play() == ["ReadFacts", "ReadFailures", "Comment", "ShowCard", "EndPass"]
    assert world.state() is RunState.WAITING_PERSON  # which the audit names, with the reason
    assert ".github/regreen.toml" in world.run.reason
    assert "line" in world.run.reason
    world.play()
    world.pull = a_pull(head="d" * 40)
    world.play()
    world.checks = (a_check(),)
    world.play()
    (notice,) = world.comments
    assert "line" in notice.body
    assert len(notice.body) < 2_000
    assert memory_mb() - before < 100


@pytest.mark.parametrize("bomb", YAML_BOMBS)
def test_a_bomb_of_yaml_is_refused_with_its_line(bomb):
    before = memory_mb()
    with pytest.raises(ConfigError, match=r"^autocoder\.yaml: line \d+: ") as caught:
        commands_for("", {"autocoder.yaml": YAML_BOMBS[bomb]}, ["true"])
    assert len(str(caught.value)) < 500
    assert memory_mb() - before < 100


def test_a_file_that_is_too_large_is_not_taken_for_none(tmp_path):
    origin = Origin(tmp_path)
    path = ".github/regreen.toml"
    head = Sha(origin.commit({path: "#" * 3_000_000 + "\n[commands]\ntest = 'true'\n"}))
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    found = trees.files("o/r", head, origin.remote, [path])
    trees.close()
    with pytest.raises(ConfigError, match="larger than 64 KB"):
        commands_for(found[path], {}, ["true"])


def test_without_the_bounds_it_would_be_read():
    large = BOMBS["large"] + "\n[commands]\ntest = 'make'\n"
    with switched_off(repository, "MAX_BYTES", 2**30):
        (command,) = commands_for(large, {}, ["true"])
    assert command.run == "make"
