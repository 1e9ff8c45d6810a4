"""What a comparison measures beyond the log itself: a judge's preference, cost, and what the answers are like."""

import math
from collections.abc import Mapping, Sequence

from llmops_monitor.judge import Preferences
from llmops_monitor.judge_config import Prices
from llmops_monitor.metrics import Metric
from llmops_monitor.observe import exchanged
from llmops_monitor.signals import SIGNALS, Signal, measure
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.statistics import Floats

Key = tuple[str, str, bool]

OF_ANSWERS = (
    "readability", "repetitiveness", "sentiment", "toxicity", "refusal", "relevance_to_prompt", "unsupported_specifics", "pii",
    "language_kept", "format_valid",
)  # fmt: skip
"""Signals of an answer; those of the prompt are the same for both models."""


def judge_metric(preferences: Preferences) -> Metric:
    """The judge's preference: 1 for the better answer of a pair, 0 for the other, 0.5 each for a tie."""

    def value(answer: Exchange, reference: str | None) -> float | None:
        share = preferences.shadow.get(answer.request_id)
        return None if share is None else share if answer.shadow else 1 - share

    return Metric("judge_preference", value, "higher")


def cost_metric(prices: Mapping[str, Prices]) -> Metric:
    """US dollars an answer, by the prices of the variant that gave it; undefined for a variant without prices."""

    def value(answer: Exchange, reference: str | None) -> float | None:
        price = prices.get(answer.variant)
        if price is None:
            return None
        return (answer.num_prompt_tokens * price.prompt_usd + answer.num_response_tokens * price.response_usd) / 1000

    return Metric("cost_usd", value, "lower", "USD")


def descriptor_metrics(answers: Sequence[Exchange]) -> list[Metric]:
    """The rule-based signals of these answers, which are all that the metrics know."""
    columns = measure((exchanged(answer, {}) for answer in answers), [signal for signal in SIGNALS if signal.name in OF_ANSWERS])
    places: dict[Key, int] = {}
    for place, answer in enumerate(answers):
        places.setdefault(key_of(answer), place)
    return [descriptor_metric(signal, columns[signal.name], places) for signal in SIGNALS if signal.name in OF_ANSWERS]


def descriptor_metric(signal: Signal, figures: Floats, places: Mapping[Key, int]) -> Metric:
    """One signal as a metric."""

    def value(answer: Exchange, reference: str | None) -> float | None:
        figure = float(figures[places[key_of(answer)]])
        return None if math.isnan(figure) else figure

    return Metric(f"descriptor/{signal.name}", value, signal.better)


def key_of(answer: Exchange) -> Key:
    """What tells an answer from all others."""
    return answer.request_id, answer.variant, answer.shadow
