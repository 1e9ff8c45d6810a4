"""The A/B verdict: promote, keep, roll back, or wait; it may be asked for after every request."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmops_monitor.ab_config import AbConfig
from llmops_monitor.verdict import Condition, guardrail
from llmops_shared.contracts.report import Verdict
from llmops_shared.statistics import Estimate


class AbFigures(NamedTuple):
    """What an A/B verdict rests on; every interval holds at all looks together."""

    quality: Mapping[str, Estimate | None]
    """Difference of each deciding metric, treatment minus control; None while there is too little data."""
    latency: Estimate | None
    """Typical latency of treatment over control's."""
    errors: Estimate
    """Error rate of treatment minus control's."""
    mismatch_p_value: float
    """Of the split of the traffic."""
    counts: tuple[int, int]
    """Units of control and of treatment."""


def num_conditions(config: AbConfig) -> int:
    """Intervals that decide: the quality metrics, latency, errors. Their errors are shared out evenly (Bonferroni)."""
    return len(config.metrics) + 2


def decide(figures: AbFigures, config: AbConfig) -> tuple[Verdict, list[str]]:
    """Verdict and reasons.

    All intervals hold at every look with probability `confidence`, so that is how rarely a treatment that is no better is promoted,
    or one that is no worse rolled back, however often anybody looks and whenever the test is stopped.
    """
    guardrails = [error_guardrail(figures.errors, config), *latency_guardrail(figures.latency, config)]
    quality = [quality_gain(name, figure, config) for name, figure in figures.quality.items()]
    mismatch = mismatch_reason(figures, config)
    reasons = [*mismatch, *(condition.reason for condition in quality + guardrails)]
    harmed = any(figure is not None and figure.high < 0 for figure in figures.quality.values())
    # a broken split makes gains doubtful, but a fleet that fails is taken back all the same
    if any(guard.state == "fails" for guard in guardrails) or (harmed and not mismatch):
        return "rollback", reasons
    if mismatch:
        return "not_enough_data", reasons
    if any(condition.state == "fails" for condition in quality):
        return "keep", reasons
    return "promote" if all(condition.state == "holds" for condition in quality + guardrails) else "not_enough_data", reasons


def mismatch_reason(figures: AbFigures, config: AbConfig) -> Sequence[str]:
    """Why the split of the traffic is not the planned one; empty when it may be."""
    if figures.mismatch_p_value >= config.mismatch_alpha:
        return []
    control, treatment = figures.counts
    counted = f"Sample ratio mismatch: control has {control} and treatment {treatment} units, which the weights explain with p ="
    limit = f"{figures.mismatch_p_value:.2g} (limit {config.mismatch_alpha:g})"
    return [f"{counted} {limit}; find what loses or moves requests, then start a new test."]


def quality_gain(name: str, figure: Estimate | None, config: AbConfig) -> Condition:
    """Whether the whole interval of the difference lies above the margin."""
    if figure is None:
        return Condition("open", f"{name}: too few units in a variant, or every value the same, for an interval.")
    interval = f"interval {figure.low:+.3f} to {figure.high:+.3f}, {figure.num_rows} units"
    figures = f"{name}: treatment minus control is {figure.value:+.3f} ({interval})"
    if figure.low > config.margin:
        return Condition("holds", f"{figures}, above the margin of {config.margin:.3f}.")
    if figure.high < 0:
        return Condition("fails", f"{figures}: the treatment is worse.")
    if figure.high <= config.margin:
        return Condition("fails", f"{figures}, not above the margin of {config.margin:.3f}.")
    return Condition("open", f"{figures}; the margin of {config.margin:.3f} lies in the interval, more requests would tell.")


def error_guardrail(figure: Estimate, config: AbConfig) -> Condition:
    """Whether the error rate rises by no more than is allowed."""
    words = f"Errors rise by {figure.value:+.1%} (interval {figure.low:+.1%} to {figure.high:+.1%}, limit {config.max_error_increase:.1%})"
    return guardrail(words, figure.low, figure.high, config.max_error_increase)


def latency_guardrail(figure: Estimate | None, config: AbConfig) -> list[Condition]:
    """Whether the treatment takes no longer than is allowed; empty where that is not judged."""
    if config.max_latency_ratio is None:
        return []
    if figure is None:
        return [Condition("open", "Latency: too few units in a variant, or none with a latency, for an interval.")]
    words = (
        f"Latency: treatment takes {figure.value:.2f} times as long (interval {figure.low:.2f} to {figure.high:.2f}, "
        f"limit {config.max_latency_ratio:.2f})"
    )
    return [guardrail(words, figure.low, figure.high, config.max_latency_ratio)]
