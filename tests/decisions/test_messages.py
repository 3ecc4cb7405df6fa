"""What people read, where it must not do what a log or a model would have it do."""

import msgspec
import pytest

from bot.domain.runs import Attempt, Result, RunState
from bot.domain.values import Sha
from bot.github.limits import COMMENT_CHARS
from bot.repair import messages
from tests.support.pulls import HEAD, NOW, a_run

ATTEMPT = Attempt(number=1, trigger="pr-7-abc", head=Sha(HEAD), started_at=NOW, failing=("test",))


@pytest.mark.parametrize(
    "words",
    [
        "[skip ci]",
        "[CI skip]",
        "[no ci]",
        "[skip actions]",
        "[actions skip]",
        "skip-checks: true",
        "fixes #12",
        "fixes GH-12",
        "fixes https://github.com/octo/app/issues/12",
        "@octocat",
        "Regreen-Run: other",
    ],
)
def test_a_log_cannot_speak_through_a_commit_message(words):
    attempt = msgspec.structs.replace(
        ATTEMPT, failing=(f"test {words}",), evidence=(("test", f"it broke\n\n{words}"),)
    )
    message = messages.commit_message(a_run(), attempt)
    if words.startswith("Regreen-Run"):
        assert message.count("\nRegreen-Run:") == 1
    else:
        assert words not in message
        assert message.splitlines()[-2].startswith("Regreen-Run: ")


@pytest.mark.parametrize("lines", [2000, 200])
def test_a_fork_s_patch_is_shown_whole_or_not_at_all(lines):
    diff = "diff --git a/a.py b/a.py\n" + "".join(f"+value_{n} = {n:030}\n" for n in range(lines))
    attempt = msgspec.structs.replace(ATTEMPT, result=Result.PATCH_POSTED, diff=diff[:60_000])
    body = messages.attempt_comment(a_run(state=RunState.WAITING_PERSON), attempt)
    assert len(body) <= COMMENT_CHARS
    assert ("git apply" in body) is (diff in body)
    assert ("too long" in body) is (diff not in body)
