# ruff: noqa: E501 (what people read is quoted whole)
"""Pull requests of strangers: nothing runs unasked, nothing is pushed, the patch is posted."""

import re
import subprocess

from inline_snapshot import snapshot

from tests.support.scenes import AREA, BROKEN, FILES, MENDED, plain
from tests.support.simulated import make_repo


def test_nothing_of_a_fork_runs_until_a_writer_says_so(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, fork=True)
    bot.settle()
    assert model.calls == []
    assert pull.conclusion() == "action_required"
    assert [plain(body) for body in pull.bodies()] == snapshot(
        [
            """\
### Regreen: a person is needed
<!-- regreen notice run=RUN -->

this comes from a fork, so nothing of it runs until a person with write permission says /regreen fix for SHORT

<sub>`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest. Run `RUN`.</sub>
"""
        ]
    )

    pull.says("/regreen fix", by="stranger")
    bot.settle()
    assert model.calls == []
    (noted,) = bot.server.rows(
        f"SELECT detail FROM audit WHERE kind = 'command.refused' AND subject = '{pull}'"
    )
    assert '"by":"stranger"' in noted.detail.replace(" ", "")

    pull.says("/regreen fix", by="writer")
    bot.settle()
    assert len(model.calls) == 1


def test_a_forks_patch_is_posted_and_applies_as_told(bot, github, model, tmp_path):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, fork=True)
    red = pull.head
    bot.settle()
    pull.says("/regreen fix", by="writer")
    bot.settle()

    assert pull.head == red
    assert pull.attempts() == snapshot(
        ["### Regreen · attempt 1: a verified fix for `test`, for you to apply"]
    )
    assert pull.conclusion() == "action_required"
    (told,) = [body for body in pull.bodies() if "· attempt" in body]
    (command,) = re.findall(r"```sh\n(git apply .*?)\n```", told, re.DOTALL)
    here = make_repo(tmp_path, {**FILES, **BROKEN})
    subprocess.run(["sh", "-c", command], cwd=here, check=True)
    assert (here / "widgets/area.py").read_text() == AREA


def test_a_new_head_of_a_fork_needs_a_new_word(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, fork=True)
    bot.settle()
    pull.says("/regreen fix", by="writer")
    bot.settle()
    asked = len(model.calls)
    github.sim.push_files(pull.repo, pull.number, {"README.md": "# Mine\n"}, by="stranger")
    bot.settle()

    assert asked == 1
    assert len(model.calls) == asked
    assert pull.conclusion() == "action_required"


def test_a_deleted_fork_still_gets_its_patch(bot, github, model):
    model.answers(MENDED)
    pull = github.open_pull(BROKEN, fork=True, author="reader")
    bot.settle()
    github.sim.delete_fork(pull.repo, pull.number)
    pull.says("/regreen fix", by="writer")
    bot.settle()

    assert pull.attempts() == snapshot(
        ["### Regreen · attempt 1: a verified fix for `test`, for you to apply"]
    )
    assert "git apply --index" in pull.said()
