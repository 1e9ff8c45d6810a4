"""Exchanges to profiles, block by block."""

from collections.abc import Iterable, Mapping

from llmops_monitor.observe import Prices, blocks, exchanged, observations
from llmops_monitor.profile import Profile, profile_table
from llmops_monitor.traffic_config import PriceConfig
from llmops_shared.contracts.exchange import Exchange


def profile_exchanges(exchanges: Iterable[Exchange], chunks: Mapping[str, str], price: PriceConfig) -> Profile:
    """The profile of any number of exchanges, in the memory of one block."""
    total: Profile | None = None
    for block in blocks(exchanges):
        found = profile_block(block, chunks, price)
        total = found if total is None else total.merge(found)
    return profile_table({}) if total is None else total


def profile_block(block: list[Exchange], chunks: Mapping[str, str], price: PriceConfig) -> Profile:
    """The profile of a few exchanges; a row's key is its request, so that the same request weighs the same everywhere."""
    views = [exchanged(exchange, chunks) for exchange in block]
    keys = [f"{exchange.request_id} {exchange.variant}" for exchange in block]
    return profile_table(observations(block, views, prices_of(price)), keys)


def prices_of(price: PriceConfig) -> Prices | None:
    """Prices, where both are given."""
    return None if price.prompt_usd is None or price.response_usd is None else Prices(price.prompt_usd, price.response_usd)
