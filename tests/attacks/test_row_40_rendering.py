"""Row 40: a log or a model mentions people, closes issues, loads images or hides words.

Control: `bot.domain.inert` shows every text from outside inert. Off (the text as it is), GitHub
would act on it: `acts` tells that, as GitHub's own rules have it.
"""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import inert
from bot.domain.inert import GAP
from bot.github.limits import COMMENT_CHARS, SUMMARY_BYTES, fit_bytes, fit_comment

TRICKS = {
    "mention": "hello @everyone and @octo/team",
    "entity": "hello &#64;everyone &commat;octocat",
    "closes": "fixes #12, closes octo/app#13",
    "closes GH": "resolves GH-14",
    "closes by address": "fixes https://github.com/octo/app/issues/15",
    "image": "![x](https://evil.example/p.png)",
    "image by name": "![x][y]",
    "tag": "<img src=https://evil.example/p.png>",
    "link": "[click](https://evil.example)",
    "bare address": "see www.evil.example now",
    "other scheme": "ftp://evil.example/x",
    "comment": "<!-- regreen attempt=9 trigger=pr-1-a run=r -->",
}
ACTS = re.compile(r"@\w|#\d|\bGH-\d|://|\bwww\.|!\[|\]\(|\]\[|<[a-z!/]", re.IGNORECASE)
UNSEEN = "\x00\x1b\x07\x9b\xad\u200b\u200e\u202e\u2066\ufeff\ufe0f\U000e0041\U000e0100\ud800"


def acts(shown: str) -> bool:
    """Tell whether GitHub would act on a line of Markdown; entities are read before mentions."""
    unescaped = html.unescape(shown) if "&lt;" not in shown else shown
    return ACTS.search(unescaped.replace(f"@{GAP}", "")) is not None


@pytest.mark.parametrize("text", TRICKS.values(), ids=TRICKS)
def test_a_quoted_text_does_nothing(text):
    assert acts(text)
    assert not acts(inert.quote(text))


@pytest.mark.parametrize("text", TRICKS.values(), ids=TRICKS)
def test_nothing_leaves_a_block_of_code(text):
    shown = inert.fence(f"{text}\n```\n{text}\n`````\n")
    first, *_, last = shown.splitlines()
    assert first == last == "``````"
    assert first not in shown.splitlines()[1:-1]


@given(st.text(max_size=200))
def test_inline_code_is_one_line_without_ticks(text):
    shown = inert.code(text)
    assert shown[0] == shown[-1] == "`"
    assert "`" not in shown[1:-1]
    assert "\n" not in shown


@given(st.text(alphabet=st.sampled_from([*UNSEEN, "a", "[", "3", "1", "m", "\n"]), max_size=60))
def test_what_nobody_sees_is_gone(text):
    for show in (inert.plain, inert.quote, inert.fence, inert.code, inert.for_commit):
        shown = show(text)
        assert not set(UNSEEN) - {GAP} & set(shown)
        shown.encode()


def test_without_it_the_words_would_be_hidden():
    assert inert.plain("pay\u202e\U000e0041load\x1b[31m!\x1b[0m") == "payload!"


COMMIT = ["@octocat", "fixes #12", "closes GH-12", "https://github.com/o/r/issues/1", "[skip ci]"]


@pytest.mark.parametrize("text", COMMIT)
def test_a_commit_message_does_nothing(text):
    assert text not in inert.for_commit(f"it broke: {text}")


# --- cut to fit ---------------------------------------------------------------------------------

OPENED = "<details><summary>x</summary>\n\n```diff\n"


PIECES = ["é", "🟢", "&amp;", "&lt;", "<b>", "a", "\n", "\u200d"]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=40), st.integers(200, 400))
def test_a_cut_is_whole(pieces, limit):
    shown = inert.cut_bytes(OPENED + "".join(pieces) * 500, limit, "\n\n… cut")
    assert limit - 40 < len(shown.encode()) <= limit
    assert shown.endswith("… cut")
    assert shown.count("<details") == shown.count("</details>")
    assert shown.count("```") % 2 == 0
    inside = shown.split("```diff\n")[1].rsplit("\n```", 1)[0]
    assert not re.search(r"(&\w*|<\w*)\Z", inside)


def test_a_long_fence_is_closed_by_one_as_long():
    body = f"{MARK}\n`````\n" + "```\nx\n" * 20_000
    shown = fit_comment(body)
    assert len(shown) <= COMMENT_CHARS
    fences = [line for line in shown.splitlines() if line.startswith("`````")]
    assert fences == ["`````", "`````"]
    assert shown.count(MARK) == 1


MARK = "<!-- regreen attempt=1 trigger=pr-1-a run=r -->"


def test_a_summary_fits_to_the_byte():
    shown = fit_bytes("&amp;🟢" * 20_000)
    assert SUMMARY_BYTES - 16 < len(shown.encode()) <= SUMMARY_BYTES
    assert not re.search(r"&\w*\n", shown)
