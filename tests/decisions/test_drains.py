"""The wait between two trips through a chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import Drains

milliseconds = st.integers(0, 10**12)
factors = st.integers(0, 100_000)
cycles = st.integers(0, 300)


@pytest.mark.parametrize(
    ("cycle", "wait_ms"), [(0, 1000), (1, 2000), (2, 4000), (3, 8000), (10, 60_000)]
)
def test_the_seeds_values(cycle, wait_ms):
    assert Drains().backoff_ms(cycle) == wait_ms


@pytest.mark.parametrize(
    ("drains", "cycle", "wait_ms"),
    [
        pytest.param(Drains(multiplier_hundredths=150), 2, 2250, id="1.5"),
        pytest.param(Drains(multiplier_hundredths=100), 10**9, 1000, id="constant, far out"),
        pytest.param(Drains(multiplier_hundredths=0), 1, 0, id="nothing after the first"),
        pytest.param(Drains(multiplier_hundredths=50), 10**9, 0, id="ever less"),
        pytest.param(Drains(retry_delay_ms=90_000), 0, 60_000, id="the cap holds at once"),
        pytest.param(Drains(max_backoff_ms=10**12), 10**9, 10**12, id="saturated, far out"),
    ],
)
def test_its_edges(drains, cycle, wait_ms):
    assert drains.backoff_ms(cycle) == wait_ms


@given(milliseconds, factors, milliseconds, cycles)
def test_it_is_what_the_formula_says_within_rounding(base_ms, factor, cap_ms, cycle):
    drains = Drains(retry_delay_ms=base_ms, multiplier_hundredths=factor, max_backoff_ms=cap_ms)
    exact = min(base_ms * factor**cycle // 100**cycle, cap_ms)
    assert 0 <= drains.backoff_ms(cycle) <= exact
    if factor % 100 == 0:
        assert drains.backoff_ms(cycle) == exact


@given(milliseconds, st.integers(100, 100_000), milliseconds, cycles)
def test_it_never_shrinks_while_the_factor_does_not_shrink_it(base_ms, factor, cap_ms, cycle):
    drains = Drains(retry_delay_ms=base_ms, multiplier_hundredths=factor, max_backoff_ms=cap_ms)
    assert drains.backoff_ms(cycle) <= drains.backoff_ms(cycle + 1) <= cap_ms
