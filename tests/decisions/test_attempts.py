"""The count that people can see and change: markers of ours, and nobody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.values import RunId, Sha
from bot.repair import attempts
from tests.support.pulls import HEAD, OTHER, a_comment

MARK = "<!-- regreen attempt=3 trigger=pr-123-aaaaaaaaaaaa run=r1 -->"
TRUSTED = ("auto-coder",)

shas = st.text("0123456789abcdef", min_size=40, max_size=40).map(Sha)
numbers = st.integers(1, 999_999)
markers = st.builds(
    attempts.marker,
    numbers,
    st.builds(attempts.trigger, st.integers(1, 10**6), shas, st.integers(1, 50)),
    st.from_regex(r"[a-z0-9-]{1,30}", fullmatch=True).map(RunId),
)


def theirs(body: str, author: str = "mallory"):
    return a_comment(body, author=author, author_id=5, mine=False)


@given(number=numbers, pull=st.integers(1, 10**6), head=shas, nth=st.integers(1, 50))
def test_a_marker_written_is_the_marker_read(number, pull, head, nth):
    trigger = attempts.trigger(pull, head, nth)
    written = attempts.marker(number, trigger, RunId("run-1"))
    assert attempts.read(f"### For people\n{written}\n\nMore") == attempts.Marker(
        number, trigger, RunId("run-1")
    )


def test_a_trigger_names_pull_head_and_try():
    assert attempts.trigger(123, HEAD, 1) == "pr-123-aaaaaaaaaaaa"
    assert attempts.trigger(123, HEAD, 2) == "pr-123-aaaaaaaaaaaa.2"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"> {MARK}", id="quoted"),
        pytest.param(f"   > {MARK}", id="quoted after spaces"),
        pytest.param(f"```\n{MARK}\n```", id="fenced"),
        pytest.param(f"````\n```\n{MARK}\n````", id="fenced by four"),
        pytest.param(f"~~~\n```\n{MARK}\n~~~", id="fenced by tildes"),
        pytest.param(f"```text\n{MARK}", id="fence never closed"),
        pytest.param(f"    {MARK}", id="indented"),
        pytest.param(f"`{MARK}`", id="inline code"),
        pytest.param(MARK.replace("attempt=3", "attempt=03"), id="leading zero"),
        pytest.param(MARK.replace("attempt=3", "attempt=-3"), id="negative"),
        pytest.param(MARK.replace("attempt=3", "attempt=9999999"), id="absurd"),
        pytest.param(MARK.replace("attempt=3", "attempt=٣"), id="other digits"),
        pytest.param(MARK.replace("aaaaaaaaaaaa", "aaaa"), id="short head"),
        pytest.param(MARK.replace(" run=r1", ""), id="no run"),
        pytest.param(attempts.retired(MARK), id="retired"),
        pytest.param(f"{attempts.retired(MARK)}\n{MARK}", id="a live one after a retired one"),
    ],
)
def test_what_is_no_marker_of_ours(body):
    assert attempts.read(body) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"### Title\r\n{MARK}\r\nmore", id="line ends of a browser"),
        pytest.param(f"```\ncode\n```\n{MARK}", id="after a closed fence"),
        pytest.param(f"Title {MARK}", id="at the end of a line"),
        pytest.param(f"{MARK}\n{MARK.replace('=3', '=9')}", id="the first one counts"),
    ],
)
def test_what_is_a_marker_of_ours(body):
    found = attempts.read(body)
    assert found is not None
    assert found.number == 3


@pytest.mark.parametrize(
    ("comments", "count"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([a_comment(MARK)], 3, id="ours"),
        pytest.param([a_comment(MARK), a_comment(MARK.replace("=3", "=2"))], 3, id="largest"),
        pytest.param([a_comment(MARK), a_comment(MARK)], 3, id="same trigger twice"),
        pytest.param([a_comment(attempts.retired(MARK))], 0, id="retired"),
        pytest.param([theirs(MARK)], 0, id="forged"),
        pytest.param([theirs("Auto-Coder Attempt: 9")], 0, id="forged, auto-coder's"),
        pytest.param([a_comment("Auto-Coder Attempt: 9")], 0, id="ours says it in prose"),
        pytest.param([theirs(MARK, "Auto-Coder")], 3, id="trusted, our marker"),
        pytest.param([theirs("Auto-Coder Attempt: 4", "auto-coder")], 4, id="trusted"),
        pytest.param([theirs("Auto-Coder Attempt: 4 | x\ny", "auto-coder")], 4, id="with details"),
        pytest.param([theirs("Auto-Coder Attempt: 4\r\ny", "auto-coder")], 4, id="browser's line"),
        pytest.param([theirs("Auto-Coder Attempt: 4 tests", "auto-coder")], 0, id="prose after it"),
        pytest.param([theirs("> Auto-Coder Attempt: 4", "auto-coder")], 0, id="quotation"),
        pytest.param([theirs("x\nAuto-Coder Attempt: 4", "auto-coder")], 0, id="second line"),
        pytest.param(
            [theirs("my third attempt 7 tests failed", "auto-coder")], 0, id="a number in prose"
        ),
        pytest.param(
            [
                theirs(f"Auto-Coder Attempt: 2025-11-0{n}T10:00:00Z | x", "auto-coder")
                for n in (1, 2)
            ],
            2,
            id="dated ones are counted",
        ),
        pytest.param(
            [
                theirs("Auto-Coder Attempt: 2025-11-01T10:00:00+00:00", "auto-coder"),
                theirs("Auto-Coder Attempt: 2025-11-02T10:00:00", "auto-coder"),
                theirs("Auto-Coder Attempt: 1 | trigger=pr-1-aaaaaaaaaaaa", "auto-coder"),
            ],
            1,
            id="numbers win over dates",
        ),
    ],
)
def test_count(comments, count):
    assert attempts.count(comments, TRUSTED) == count


@given(st.text(), st.lists(markers, max_size=4))
def test_a_users_comment_never_changes_the_count(text, ours):
    comments = [a_comment(one) for one in ours]
    forged = [theirs(text), theirs(MARK.replace("=3", "=900000")), theirs(f"{text}\n{MARK}")]
    assert attempts.count([*comments, *forged], TRUSTED) == attempts.count(comments, TRUSTED)


@given(st.lists(markers, min_size=1, unique_by=lambda one: attempts.count([a_comment(one)])))
def test_deleting_the_last_attempt_lowers_the_count(ours):
    comments = sorted((a_comment(one) for one in ours), key=lambda one: attempts.count([one]))
    assert attempts.count(comments[:-1]) < attempts.count(comments)


@given(st.text("a>`~ \n"), markers, st.text("a>`~ \n"))
def test_a_retired_comment_counts_no_more_and_keeps_its_words(before, mark, after):
    comment = a_comment(f"{before}\n{mark}\n{after}")
    body = attempts.retired(comment.body)
    assert attempts.read(body) is None
    assert body.replace("retired ", "", 1) == comment.body or body == comment.body
    assert attempts.retired(body) == body


def test_live_comments_are_those_of_ours_that_count():
    mine, old = a_comment(MARK), a_comment(attempts.retired(MARK))
    assert attempts.live([mine, old, theirs(MARK), a_comment("hello")]) == (mine,)


def test_tries_on_a_head():
    def tried(head, nth, *, retire=False):
        body = attempts.marker(1, attempts.trigger(123, head, nth), RunId("r"))
        return a_comment(attempts.retired(body) if retire else body)

    comments = [tried(HEAD, 1, retire=True), tried(HEAD, 3), tried(OTHER, 7), theirs(MARK)]
    assert attempts.tries_on(comments, 123, HEAD) == 3, "the next trigger was never used"
    assert attempts.tries_on(comments, 123, OTHER) == 7
    assert attempts.tries_on(comments, 12, HEAD) == 0
    assert attempts.tries_on([], 123, HEAD) == 0
