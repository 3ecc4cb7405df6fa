"""When the fallback takes over, and what the log then says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import BackendName, Policy
from bot.routing.chain import route

QWEN, CODEX = BackendName("qwen", "qwen3-coder-plus"), BackendName("codex", "gpt-5")
FLASH = BackendName("backend_for_failed_pr", "gemini-2.5-flash")
WITH = Policy(primary=(QWEN, CODEX), fallback=(FLASH,))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_primary_chain_is_used_before_three_attempts(count):
    chosen = route(WITH, count, 123)
    assert chosen.chain == (QWEN, CODEX)
    assert not chosen.fallback
    assert chosen.notices == ()
    assert [name for name, _ in chosen.skipped] == ["backend_for_failed_pr"]


@pytest.mark.parametrize("count", [3, 4, 10])
def test_the_fallback_is_used_from_three_attempts_on(count):
    chosen = route(WITH, count, 123)
    assert chosen.chain == (FLASH,)
    assert chosen.fallback
    assert [name for name, _ in chosen.skipped] == ["qwen", "codex"]


def test_the_log_says_it_in_auto_coders_words():
    assert route(WITH, 3, 123).notices == (
        "Switched to fallback backend for PR #123 (attempt 3)",
        "Using fallback backend: gemini-2.5-flash",
    )


def test_an_order_of_fallbacks_is_kept():
    policy = Policy(primary=(QWEN,), fallback=(FLASH, CODEX))
    assert route(policy, 3, 1).chain == (FLASH, CODEX)


def test_the_threshold_is_a_setting():
    policy = Policy(primary=(QWEN,), fallback=(FLASH,), fallback_after=5)
    assert not route(policy, 4, 1).fallback
    assert route(policy, 5, 1).fallback


@given(st.integers(0, 1000))
def test_without_a_fallback_nothing_changes(count):
    policy = Policy(primary=(QWEN, CODEX))
    assert route(policy, count, 1) == route(policy, 0, 1)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_the_two_chains_never_mix(count, after):
    policy = Policy(primary=(QWEN, CODEX), fallback=(FLASH,), fallback_after=after)
    assert route(policy, count, 1).chain in {policy.primary, policy.fallback}
