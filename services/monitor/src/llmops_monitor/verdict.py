"""The shadow verdict: promote only if the gain is proven and the guardrails hold."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from llmops_monitor.config import CompareConfig
from llmops_monitor.metrics import Comparison
from llmops_shared.contracts.report import Verdict

State = Literal["holds", "fails", "open"]


class Condition(NamedTuple):
    """One condition of a promotion."""

    state: State
    """`open`: the figures allow either, more pairs would tell."""
    reason: str
    """In words, with the figures."""


def decide(comparisons: Mapping[str, Comparison], config: CompareConfig) -> tuple[Verdict, list[str]]:
    """Verdict and reasons.

    Several quality metrics need no correction for multiplicity, for all of them have to hold (an intersection-union test,
    Berger 1982): the chance of promoting a model that is no better stays below (1 - confidence) / 2.
    """
    checks = [("error_rate", error_guardrail), ("latency_ms", latency_guardrail), ("cost_usd", cost_guardrail)]
    guardrails = [found for name, guard in checks if name in comparisons and (found := guard(comparisons[name], config)) is not None]
    scarce = [reason for metric in config.metrics if (reason := too_few(metric, comparisons.get(metric), config)) is not None]
    if scarce:
        # a shadow that fails on every request has no answer to measure, and is no matter of more data
        broken = any(guard.state == "fails" for guard in guardrails) and comparisons["error_rate"].num_prompts >= config.min_pairs
        return "keep" if broken else "not_enough_data", [*scarce, *(guard.reason for guard in guardrails)]
    quality = [quality_gain(comparisons[metric], config) for metric in config.metrics]
    reasons = [condition.reason for condition in quality + guardrails]
    if any(condition.state != "holds" for condition in quality) or any(guard.state == "fails" for guard in guardrails):
        return "keep", reasons
    # a proven gain beside a guardrail that too few pairs leave open is a matter of data, not of the model
    return "promote" if all(guard.state == "holds" for guard in guardrails) else "not_enough_data", reasons


def too_few(metric: str, comparison: Comparison | None, config: CompareConfig) -> str | None:
    """Why a metric cannot decide; None when it can."""
    found = 0 if comparison is None else comparison.num_prompts
    if found >= config.min_pairs:
        return None
    return f"{metric} is known for {found} pairs of different prompts; {config.min_pairs} are needed (min_pairs)."


def quality_gain(comparison: Comparison, config: CompareConfig) -> Condition:
    """Whether the whole interval of the difference lies above the margin."""
    figure, name = comparison.difference, comparison.metric.name
    figures = (
        f"{name} of shadow is {comparison.shadow.value:.3f}, of production {comparison.production.value:.3f}: difference "
        f"{figure.value:+.3f} ({config.confidence:.0%} interval {figure.low:+.3f} to {figure.high:+.3f}, {comparison.num_pairs} pairs"
        f" of {comparison.num_prompts} prompts)"
    )
    if figure.low > config.margin:
        return Condition("holds", f"{figures}, above the margin of {config.margin:.3f}.")
    if figure.high <= config.margin:
        return Condition("fails", f"{figures}, not above the margin of {config.margin:.3f}.")
    return Condition("open", f"{figures}; the margin of {config.margin:.3f} is not below the interval, so a gain is not proven.")


def error_guardrail(comparison: Comparison, config: CompareConfig) -> Condition | None:
    """Whether the error rate rises by no more than is allowed."""
    figure, limit = comparison.difference, config.max_error_increase
    figures = (
        f"Errors: shadow {comparison.shadow.value:.1%}, production {comparison.production.value:.1%} of {comparison.num_pairs} pairs; "
        f"the rise is at most {figure.high:.1%} (limit {limit:.1%})"
    )
    return guardrail(figures, figure.low, figure.high, limit)


def cost_guardrail(comparison: Comparison, config: CompareConfig) -> Condition | None:
    """Whether an answer costs no more than is allowed; None where that is not judged."""
    figure, limit = comparison.ratio, config.max_cost_ratio
    if limit is None:
        return None
    if figure is None:
        return Condition("open", "Cost of production is 0 for a prompt, so no ratio is defined.")
    figures = (
        f"Cost of an answer: shadow {comparison.shadow.value:.2g} USD, production {comparison.production.value:.2g} USD; "
        f"{figure.value:.2f} times as much, at most {figure.high:.2f} (limit {limit:.2f})"
    )
    return guardrail(figures, figure.low, figure.high, limit)


def latency_guardrail(comparison: Comparison, config: CompareConfig) -> Condition | None:
    """Whether shadow takes no longer than is allowed; None where that is not judged."""
    figure, limit = comparison.ratio, config.max_latency_ratio
    if limit is None:
        return None
    if figure is None:
        return Condition("open", "Latency of production is 0 ms for a prompt, so no ratio is defined.")
    figures = (
        f"Latency: shadow {comparison.shadow.value:.0f} ms, production {comparison.production.value:.0f} ms; "
        f"shadow takes {figure.value:.2f} times as long, at most {figure.high:.2f} (limit {limit:.2f})"
    )
    return guardrail(figures, figure.low, figure.high, limit)


def guardrail(figures: str, low: float, high: float, limit: float) -> Condition:
    """A condition that holds while the whole interval is within the limit."""
    if high <= limit:
        return Condition("holds", f"{figures}: within the guardrail.")
    if low > limit:
        return Condition("fails", f"{figures}: breaks the guardrail.")
    return Condition("open", f"{figures}: more data is needed to know that the guardrail holds.")
