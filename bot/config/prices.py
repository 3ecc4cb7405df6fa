"""`[prices.X]`: what models cost, for every backend that states no price of its own.

A table's name is a pattern as in file names; the longest one that fits a model is meant. A name
with dots that was not quoted arrives as nested tables and is put together again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bot.config import shapes
from bot.config.document import Document, KeyPath
from bot.config.layers import Settings, layer
from bot.config.schema import BackendConfig
from bot.domain.errors import ConfigError
from bot.domain.models import Price, PriceOf, listed
from bot.domain.values import Value

SECTION = "prices"


class PriceKeys(Value, frozen=True, rename={"input": "in", "output": "out"}):
    """One `[prices.X]`; USD per million tokens."""

    input: shapes.PerMillion | None = None
    output: shapes.PerMillion | None = None
    cache_read: shapes.PerMillion | None = None
    cache_write: shapes.PerMillion | None = None


_KEYS = shapes.keys_of(PriceKeys)


def read(file: Document, warnings: list[str]) -> tuple[tuple[PriceOf, ...], Settings]:
    """Return the price list of *file* and who said what, or raise `ConfigError`."""
    found, said, places = [], {}, {}
    for path, values in _tables(file, (SECTION,), shapes.table(file, (SECTION,))):
        one = shapes.fit(file, path, values, PriceKeys)
        warnings += shapes.unknown(file, path, values, _KEYS)
        if one.input is None or one.output is None:
            raise ConfigError(f"{file.where(path)}: {'.'.join(path)} needs both in and out")
        price = Price(one.input, one.output, one.cache_read, one.cache_write)
        found.append(PriceOf(".".join(path[1:]), price))
        for key in values.keys() & set(_KEYS):
            name = ".".join((*path, key))
            said[name], places[name] = values[key], file.where((*path, key))
    return tuple(found), layer(said, places)


def priced(backend: BackendConfig, prices: tuple[PriceOf, ...]) -> BackendConfig:
    """Return *backend* and its ways, each with the price that the list has for its model."""
    ways = {name: _way(backend, way, prices) for name, way in backend.ways.items()}
    return replace(backend, list_price=listed(prices, backend.model), ways=ways)


def _way(backend: BackendConfig, way: BackendConfig, prices: tuple[PriceOf, ...]) -> BackendConfig:
    """Return one way with its price: that of its section is for the section's model.

    So it gives way where the list knows another model better.
    """
    price = listed(prices, way.model)
    if price and way.model != backend.model and way.own_price == backend.own_price:
        way = replace(way, price_in=None, price_out=None, price_cached=None, price_cache_write=None)
    return replace(way, list_price=price)


def _tables(
    file: Document, path: KeyPath, table: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield each model's table with its place."""
    for name, one in table.items():
        at = (*path, name)
        if not isinstance(one, dict):
            text = f'must be a table such as [{SECTION}."gpt-*"], not {shapes.shown(one)}'
            raise ConfigError(f"{file.where(at)}: {'.'.join(at)} {text}")
        inner = {key: value for key, value in one.items() if isinstance(value, dict)}
        if not inner or len(inner) < len(one):
            yield at, {key: value for key, value in one.items() if key not in inner}
        yield from _tables(file, at, inner)
