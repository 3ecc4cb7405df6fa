"""Which setting wins, and whose word it was."""

from hypothesis import given
from hypothesis import strategies as st

from bot.config.layers import Settings, flat, layer

keys = st.sampled_from(["retry.cap_s", "retry.retries.lint", "regreen.autofix", "guard.max_files"])
layers = st.builds(layer, st.dictionaries(keys, st.integers()), st.text(min_size=1))


@given(layers, layers, layers)
def test_merging_is_associative(one, two, three):
    assert (one | two) | three == one | (two | three)


@given(layers)
def test_nothing_changes_a_layer_that_nothing_is_laid_over(one):
    assert one | Settings() == one == Settings() | one


@given(layers, layers)
def test_the_later_layer_wins_and_is_named(one, two):
    merged = one | two
    for key in merged:
        winner = two if key in two else one
        assert merged.value(key) == winner.value(key)
        assert merged.origin(key) == winner.origin(key)
        assert f"set by {winner.origin(key)}" in merged.explain(key)


def test_an_explanation_names_the_winner_first_and_then_what_it_won_over():
    merged = (
        layer({"retry.total_attempts": 6}, "default")
        | layer({"retry.total_attempts": 10}, "REGREEN_ENV=development")
        | layer({"retry.total_attempts": 4}, {"retry.total_attempts": "llm_config.toml:7"})
    )
    assert merged.explain("retry.total_attempts") == (
        "retry.total_attempts is 4, set by llm_config.toml:7, "
        "over 10 (REGREEN_ENV=development), 6 (default)"
    )


def test_a_section_comes_back_as_the_table_that_went_in():
    table = {"cap_s": 60, "retries": {"lint": 1, "infra": 2}}
    settings = layer(flat("retry", table), "x") | layer({"guard.max_files": 3}, "y")
    assert settings.under("retry") == table


def test_an_unknown_key_has_its_default():
    assert Settings().value("a.b", 3) == 3
