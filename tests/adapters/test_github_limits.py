"""Text that goes to GitHub fits, stays valid, and keeps the markers that we search for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.github.limits import COMMENT_CHARS, SUMMARY_BYTES, fit_bytes, fit_comment, fit_title
from bot.github.logs import capped, is_log_link

MARK = "<!-- regreen attempt=3 trigger=pr-5-abc run=r1 -->"
KEY = "<!-- regreen effect=r1/3/report -->"


def test_a_short_text_is_left_alone() -> None:
    assert fit_bytes("ok") == "ok"
    assert fit_comment("ok") == "ok"
    assert fit_title("ok") == "ok"


@given(st.text(min_size=1, max_size=50), st.integers(60, 400))
def test_bytes_fit_and_stay_text(piece: str, limit: int) -> None:
    fitted = fit_bytes(piece * 100, limit)

    assert len(fitted.encode()) <= limit


def test_a_character_of_four_bytes_is_not_cut_in_two() -> None:
    kept, _, note = fit_bytes("🟢" * 40_000).partition("\n")

    size = len(f"{kept}\n{note}".encode())
    assert SUMMARY_BYTES - 4 < size <= SUMMARY_BYTES
    assert set(kept) == {"🟢"}
    assert "shortened" in note


def test_a_title_is_one_line() -> None:
    assert fit_title("a\n b") == "a b"
    assert len(fit_title("x" * 300)) == 255


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f"Working\n{MARK}\n{KEY}\n" + "x" * 70_000, id="markers at the start"),
        pytest.param("x" * 70_000 + f"\n{MARK}\n{KEY}", id="markers at the end"),
        pytest.param("x" * (COMMENT_CHARS - 10) + MARK + KEY + "tail", id="markers on the edge"),
        pytest.param(
            "```diff\n" + "+a\n" * 30_000 + f"```\n{MARK}\n{KEY}", id="inside a code block"
        ),
    ],
)
def test_a_long_comment_keeps_each_marker_once(body: str) -> None:
    fitted = fit_comment(body)

    assert len(fitted) <= COMMENT_CHARS
    assert (fitted.count(MARK), fitted.count(KEY)) == (1, 1)
    assert "shortened" in fitted
    assert fitted.count("```") % 2 == 0
    assert fitted.count("<!--") == 2


def test_a_marker_at_the_top_of_a_long_comment_stays_there() -> None:
    """Who counts attempts reads the top of a comment alone."""
    assert fit_comment(f"Working\n{MARK}\n" + "x" * 70_000).splitlines()[1] == MARK


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_a_long_log_keeps_its_ends(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    kept = capped(chunks, head_bytes=20, cap_bytes=100)

    if len(whole) <= 100:
        assert kept == whole
    else:
        assert kept.startswith(whole[:20])
        assert kept.endswith(whole[-80:])
        assert f"{len(whole) - 100} bytes".encode() in kept


PUBLIC = "https://api.github.com"
ENTERPRISE = "https://ghe.example/api/v3"
STORE = "https://productionresultssa3.blob.core.windows.net/logs?sig=1"


@pytest.mark.parametrize(
    ("base", "link", "allowed"),
    [
        (PUBLIC, STORE, True),
        (PUBLIC, "https://results-receiver.actions.githubusercontent.com/x", True),
        (PUBLIC, "http://results-receiver.actions.githubusercontent.com/x", False),
        (PUBLIC, "https://evilactions.githubusercontent.com/x", False),
        (PUBLIC, "https://blob.core.windows.net.evil.example/x", False),
        (PUBLIC, "https://api.github.com@evil.example/x", False),
        (PUBLIC, "https://evil@blob.core.windows.net/x", False),
        (PUBLIC, "https://127.0.0.1/x", False),
        ("https://api.corp.ghe.com", STORE, True),
        (ENTERPRISE, "https://ghe.example/_services/log", True),
        (ENTERPRISE, "https://logs.example/bucket", True),
        (ENTERPRISE, STORE, False),
        (ENTERPRISE, "http://ghe.example/_services/log", False),
    ],
)
def test_logs_come_from_known_hosts_only(base: str, link: str, *, allowed: bool) -> None:
    assert is_log_link(link, base, hosts=["logs.example"]) is allowed
