"""Row 21: a model leaks a secret by a comment, a branch or a commit, perhaps in another dress.

Control: `bot.domain.leaks` finds it plain, encoded, backwards and in pieces; the guard stops a diff
that adds one, `inert` takes it out of every text. Off (neither is asked), the text has it.
"""

import base64
import string
from urllib.parse import quote

import pytest

from bot.config.schema import GuardPolicy
from bot.domain import effects, inert
from bot.domain.answers import Answer, Ending
from bot.domain.values import Sha
from bot.repair import messages
from bot.repair.guard import examine, leaking
from tests.support.pulls import HEAD, NOW, a_run
from tests.support.stories import NOON, World

TOKEN = "gh" + "s_" + (string.ascii_letters + string.digits)[:40]
DRESSED = {
    "plain": TOKEN,
    "base64": base64.b64encode(TOKEN.encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(f"t:{TOKEN}?".encode()).decode(),
    "hex": TOKEN.encode().hex(),
    "backwards": TOKEN[::-1],
    "percent": quote(TOKEN.replace("_", "%5F"), safe="%"),
    "escapes": "".join(f"\\x{ord(sign):02x}" for sign in TOKEN),
}
IN_A_LINE = [*DRESSED.values()]


def adding(path: str, line: str) -> str:
    return f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-x\n+{line}\n"


@pytest.mark.parametrize("text", IN_A_LINE, ids=DRESSED)
def test_no_commit_has_it(text):
    diff = adding("app.py", f"x = '{text}'")
    verdict = examine(diff, GuardPolicy())
    assert not verdict.approvable
    assert text not in verdict.told
    world = World()
    world.outcomes[effects.RunBackend] = effects.BackendEnded(
        Answer(Ending.EDITED, "done"), "", NOON, leaks=leaking(diff)
    )
    world.play()
    assert world.made(effects.BuildCommit) == []
    assert text not in str(world.done)


@pytest.mark.parametrize("text", IN_A_LINE, ids=DRESSED)
def test_the_guard_would_find_what_was_handed_on(text):
    world = World(diffs=[adding("app.py", f"x = '{text}'")])
    world.play()
    assert world.made(effects.BuildCommit) == []


def test_the_same_mend_without_one_is_committed():
    world = World(diffs=[adding("app.py", "x = 'token'")])
    world.play()
    assert len(world.made(effects.BuildCommit)) == 1


@pytest.mark.parametrize("text", IN_A_LINE, ids=DRESSED)
@pytest.mark.parametrize("show", [inert.quote, inert.code, inert.fence, inert.for_commit])
def test_no_text_shows_it(show, text):
    shown = show(f"see {text} there")
    assert text not in shown
    assert TOKEN not in shown
    assert text in f"see {text} there"


@pytest.mark.parametrize("text", IN_A_LINE, ids=DRESSED)
def test_no_path_has_it(text):
    diff = adding(f"docs/{text.replace(chr(92), '')}.md", "y")
    if "\\" not in text and "%" not in text:
        assert "secret" in {one.rule for one in examine(diff, GuardPolicy()).findings}


def test_no_commit_message_has_it():
    world = World()
    world.play()
    attempt = world.run.attempts[0]
    told = messages.commit_message(
        a_run(head=Sha(HEAD), updated_at=NOW),
        type(attempt)(
            number=1,
            trigger="t",
            head=Sha(HEAD),
            started_at=NOW,
            failing=(f"job {TOKEN}",),
            evidence=(("job", f"it said {TOKEN}"),),
        ),
    )
    assert TOKEN not in told
