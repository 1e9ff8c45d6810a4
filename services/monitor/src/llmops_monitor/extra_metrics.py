"""What a comparison measures beyond the log itself: a judge's preference, cost, and what the answers are like."""

from collections.abc import Callable, Mapping

from llmops_monitor.judge import Preferences
from llmops_monitor.judge_config import Prices
from llmops_monitor.metrics import Metric
from llmops_monitor.observe import exchanged
from llmops_monitor.rules.words import Exchanged
from llmops_monitor.signals import SIGNALS, Signal
from llmops_shared.contracts.exchange import Exchange

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


def descriptor_metrics() -> list[Metric]:
    """The rule-based signals of an answer; each answer is split into words once, and each signal computed once an answer."""
    known: dict[tuple[str, str, bool], Exchanged] = {}

    def views(answer: Exchange) -> Exchanged:
        key = (answer.request_id, answer.variant, answer.shadow)
        if key not in known:
            known[key] = exchanged(answer, {})
        return known[key]

    return [descriptor_metric(signal, views) for signal in SIGNALS if signal.name in OF_ANSWERS]


def descriptor_metric(signal: Signal, views: Callable[[Exchange], Exchanged]) -> Metric:
    """One signal as a metric."""
    known: dict[tuple[str, str, bool], float | None] = {}

    def value(answer: Exchange, reference: str | None) -> float | None:
        key = (answer.request_id, answer.variant, answer.shadow)
        if key not in known:
            known[key] = signal.value(views(answer))
        return known[key]

    return Metric(f"descriptor/{signal.name}", value, signal.better)
