"""`[prices]`: read from the file, found by a model's name, laid under the backends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.build import build
from bot.config.document import parse
from bot.config.schema import Configuration
from bot.domain.errors import ConfigError
from bot.domain.models import Price, PriceOf, listed

LIST = """
[prices."gpt-*"]
in = 1.25
out = 10
cache_read = 0.125

[prices.gpt-5.1-mini]
in = 0.25
out = 2

[prices."*sonnet*"]
in = 3
out = 15
cache_write = 3.75
"""
GPT, MINI, SONNET = Price(1.25, 10.0, 0.125), Price(0.25, 2.0), Price(3.0, 15.0, None, 3.75)
BUDGET = "[budget]\nper_day_usd = 5\n"
KEYED = "[backends.mine]\napi_key = 'k'\nmodel = '{}'\n"


def configured(text: str, metadata: str = "") -> Configuration:
    described = parse(metadata, "provider_metadata.toml")
    return build(parse(text, "llm_config.toml"), {}, described)[0]


def test_the_list_is_read_with_and_without_quotes():
    found = configured(LIST + KEYED.format("m"))
    assert found.prices == (
        PriceOf("gpt-*", GPT),
        PriceOf("gpt-5.1-mini", MINI),
        PriceOf("*sonnet*", SONNET),
    )
    assert found.warnings == ()
    assert found.origin["prices.gpt-5.1-mini.in"] == "llm_config.toml:8"
    assert list(found.backends) == ["mine"], "a model is no backend"


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-5", GPT),
        ("gpt-5.1-mini", MINI),
        ("claude-sonnet-4-5", SONNET),
        ("GPT-5", None),
        ("o3", None),
        ("", None),
    ],
)
def test_the_longest_pattern_that_fits_is_meant(model: str, price: Price | None):
    assert listed(configured(LIST).prices, model) == price


@given(st.permutations(configured(LIST).prices), st.sampled_from(["gpt-5", "gpt-5.1-mini", "x"]))
def test_the_order_of_the_list_means_nothing(prices: list[PriceOf], model: str):
    assert listed(prices, model) == listed(configured(LIST).prices, model)


def test_a_backend_without_a_price_has_that_of_its_model():
    found = configured(LIST + BUDGET + KEYED.format("gpt-5.1-mini")).backends["mine"]
    assert (found.price, found.own_price) == (MINI, None)


def test_a_price_of_its_own_comes_first():
    own = "price_in = 7\nprice_out = 8\n"
    found = configured(LIST + BUDGET + KEYED.format("gpt-5") + own).backends["mine"]
    assert found.price == found.own_price == Price(7.0, 8.0)


def test_the_fallback_and_the_chain_know_the_price_too():
    text = "[backend_for_failed_pr]\nbackend_type = 'openai'\napi_key = 'k'\nmodel = 'gpt-5'\n"
    found = configured(LIST + BUDGET + KEYED.format("o-sonnet-1") + text)
    assert [one.price for one in found.fallback] == [GPT]
    (lane,) = [one for one in found.policy.routing.lanes if one.key.startswith("mine")]
    assert lane.price_usd == pytest.approx((60_000 * 3 + 4_000 * 15) / 1e6)


WAYS = """
[mine.same]
base_url = "http://a.example"
[mine.other]
model = "o-sonnet-1"
[mine.unlisted]
model = "o3"
price_in = 1
price_out = 2
[mine.dear]
model = "gpt-5"
price_in = 70
price_out = 80
"""
# That of the backend's section is for the section's model.
OWN = {
    "same": Price(7.0, 8.0),
    "other": SONNET,
    "unlisted": Price(1.0, 2.0),
    "dear": Price(70.0, 80.0),
}


@pytest.mark.parametrize(
    ("own", "prices"),
    [
        pytest.param("", OWN | {"same": MINI}, id="from the list"),
        pytest.param("price_in = 7\nprice_out = 8\n", OWN, id="over its own"),
    ],
)
def test_each_way_has_the_price_of_its_model(own: str, prices: dict[str, Price]):
    found = configured(LIST + BUDGET + KEYED.format("gpt-5.1-mini") + own, WAYS)
    assert {name: way.price for name, way in found.backends["mine"].ways.items()} == prices
    lanes = {lane.provider: lane.price_usd for lane in found.policy.routing.lanes}
    assert lanes == {
        name: pytest.approx((60_000 * one.input + 4_000 * one.output) / 1e6)
        for name, one in prices.items()
    }


def test_an_unlisted_way_costs_what_its_backend_does():
    text = KEYED.format("gpt-5.1-mini") + "price_in = 7\nprice_out = 8\n"
    way = configured(LIST + BUDGET + text, "[mine.a]\nmodel = 'o3'\n").backends["mine"].ways["a"]
    assert way.price == Price(7.0, 8.0)


def test_flags_of_a_chain_that_name_a_model_have_its_price():
    text = (
        "[agent_chain]\nbackends = ['mine']\n[agent_chain.provider_fallback]\nmine = ['-m gpt-5']\n"
    )
    found = configured(LIST + BUDGET + KEYED.format("gpt-5.1-mini") + text)
    assert [way.price for way in found.backends["mine"].ways.values()] == [GPT]


def test_a_backend_that_a_chain_names_stays_that_backend():
    text = KEYED.format("gpt-5") + "[backend]\norder = ['mine']\n"
    found = configured(LIST + text + "[backend_for_failed_pr]\norder = ['mine']\n")
    assert found.fallback == (found.backends["mine"],)
    assert found.policy.routing.fallback_lanes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[prices."m"]\nin = -1\nout = 1', "llm_config.toml:2: prices.m.in must be"),
        ('[prices."m"]\nin = 1', "llm_config.toml:1: prices.m needs both in and out"),
        ("[prices]\nin = 1", 'llm_config.toml:2: prices.in must be a table such as [prices."gpt-'),
        ("prices = 5", "llm_config.toml:1: prices must be a table"),
        (
            LIST + BUDGET + KEYED.format("o3"),
            'backends.mine needs price_in and price_out (0 where it is free), or [prices."o3"]',
        ),
    ],
)
def test_what_is_no_price_is_refused(text: str, words: str):
    with pytest.raises(ConfigError) as refused:
        configured(text)
    assert words in str(refused.value)


def test_a_way_without_a_price_is_refused_where_a_cap_is_set():
    words = r"backends.mine or its providers need price_in .* or \[prices.\"o3\"\]"
    with pytest.raises(ConfigError, match=words):
        configured(
            LIST + BUDGET + KEYED.format("gpt-5"), WAYS.replace("price_in = 1\nprice_out = 2", "")
        )


def test_a_misspelt_key_is_warned_about():
    text = '[prices."m"]\nin = 1\nout = 1\ncached_read = 1\n'
    found = configured(text + KEYED.format("m"))
    (warning,) = found.warnings
    assert 'prices.m.cached_read is not known and has no effect; did you mean "cache_read"?' in (
        warning
    )
