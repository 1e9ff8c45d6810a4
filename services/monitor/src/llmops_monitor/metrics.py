"""What is measured on each pair of answers, and the intervals of production, shadow and their difference."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from llmops_monitor.pairs import Pair, failed
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.report import Measurement
from llmops_shared.rouge import rouge_l
from llmops_shared.statistics import Estimate, Floats

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Metric:
    """A figure of one answer; None where it is not defined."""

    name: str
    value: Callable[[Exchange, str | None], float | None]
    better: Literal["higher", "lower", "neither"]
    unit: str = ""
    of_answers: bool = True
    """Measured where both models answered; else on every pair."""


@dataclass(frozen=True)
class Comparison:
    """One metric on all pairs where it is defined for both answers."""

    metric: Metric
    production: Estimate
    shadow: Estimate
    difference: Estimate
    ratio: Estimate | None
    """Shadow over production; None where production's mean is 0."""
    num_pairs: int
    num_prompts: int
    """Different prompts among the pairs: what the intervals rest on."""

    def measurements(self, confidence: float) -> list[Measurement]:
        """The figures as a report shows them."""
        roles = {"production": self.production, "shadow": self.shadow, "difference": self.difference}
        if self.metric.unit in ("ms", "USD") and self.ratio is not None:
            roles["ratio"] = self.ratio
        return [measurement(f"{role}/{self.metric.name}", figure, self, confidence) for role, figure in roles.items()]


def same(answer: str, reference: str) -> bool:
    """Whether two texts have the same words in the same order and case; white space does not count."""
    return answer.split() == reference.split()


METRICS = (
    Metric("rouge_l", lambda answer, reference: None if reference is None else rouge_l(answer.response, reference), "higher"),
    Metric("exact_match", lambda answer, reference: None if reference is None else float(same(answer.response, reference)), "higher"),
    Metric("stop_share", lambda answer, _: float(answer.finish_reason == "stop"), "higher"),
    Metric("response_tokens", lambda answer, _: float(answer.num_response_tokens), "neither", "tokens"),
    Metric("latency_ms", lambda answer, _: answer.latency_ms, "lower", "ms"),
    Metric("first_token_ms", lambda answer, _: answer.first_token_ms, "lower", "ms"),
    Metric("error_rate", lambda answer, _: float(failed(answer)), "lower", of_answers=False),
)


def compare_pairs(metric: Metric, pairs: Sequence[Pair], confidence: float, seed: int) -> Comparison | None:
    """Intervals over prompts: pairs of one prompt are resampled together. None where the metric is defined for no pair."""
    subjects: dict[str, int] = {}
    rows: list[tuple[int, float, float]] = []
    for pair in pairs:
        if metric.of_answers and not pair.answered:
            continue
        production, shadow = metric.value(pair.production, pair.reference), metric.value(pair.shadow, pair.reference)
        if production is not None and shadow is not None:
            rows.append((subjects.setdefault(pair.subject, len(subjects)), production, shadow))
    if not rows:
        return None
    sums = np.zeros((len(subjects), 3))
    for subject, production, shadow in rows:
        sums[subject] += (production, shadow, 1.0)
    if metric.of_answers:
        of_production, of_shadow, difference, ratio = estimates(sums, confidence, seed)
        defined = ratio if sums[:, 0].min() > 0 else None
        return Comparison(metric, of_production, of_shadow, difference, defined, num_pairs=len(rows), num_prompts=len(subjects))
    values = np.array([(production, shadow) for _, production, shadow in rows])
    return Comparison(
        metric,
        production=share_interval(values[:, 0], confidence),
        shadow=share_interval(values[:, 1], confidence),
        difference=share_difference_interval(values, confidence),
        ratio=None,
        num_pairs=len(rows),
        num_prompts=len(subjects),
    )


def estimates(sums: Floats, confidence: float, seed: int) -> list[Estimate]:
    """Means of production and shadow, their difference and their ratio, from [num_prompts, 3]: both sums and the number of pairs.

    One set of resamples for all four, so they agree with each other. Percentile intervals (Efron 1979); those of the ratio are of no
    meaning where a prompt's sum of production is 0.
    """
    draws = bootstrap_sums(sums, seed)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    found = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for statistic in (mean_of_production, mean_of_shadow, mean_of_difference, ratio_of_means):
            ends = np.quantile(statistic(draws), [low, high])
            found.append(Estimate(float(statistic(sums.sum(axis=0))), float(ends[0]), float(ends[1]), len(sums)))
    return found


def bootstrap_sums(sums: Floats, seed: int) -> Floats:
    """Column sums of resampled rows, [NUM_RESAMPLES, num_columns]."""
    random = np.random.default_rng(seed)
    block = max(1, min(NUM_RESAMPLES, 4_000_000 // sums.size))  # at most 32 MB of resampled rows at a time
    draws = [
        sums[random.integers(0, len(sums), (min(block, NUM_RESAMPLES - start), len(sums)))].sum(axis=1)
        for start in range(0, NUM_RESAMPLES, block)
    ]
    return np.concatenate(draws)


def mean_of_production(sums: Floats) -> Floats:
    """Of [..., 3]."""
    return np.asarray(sums[..., 0] / sums[..., 2])


def mean_of_shadow(sums: Floats) -> Floats:
    """Of [..., 3]."""
    return np.asarray(sums[..., 1] / sums[..., 2])


def mean_of_difference(sums: Floats) -> Floats:
    """Of [..., 3]."""
    return np.asarray((sums[..., 1] - sums[..., 0]) / sums[..., 2])


def ratio_of_means(sums: Floats) -> Floats:
    """Of [..., 3]."""
    return np.asarray(sums[..., 1] / sums[..., 0])


def share_interval(values: Floats, confidence: float) -> Estimate:
    """Wilson's interval (1927) of a share of 0s and 1s: unlike the bootstrap's it is not empty when no 1 was seen."""
    z, num_rows, share = normal_quantile(confidence), len(values), float(values.mean())
    middle = (share + z * z / (2 * num_rows)) / (1 + z * z / num_rows)
    reach = z / (1 + z * z / num_rows) * math.sqrt(share * (1 - share) / num_rows + z * z / (4 * num_rows**2))
    # at 0 and at 1 the formula gives the share itself but for rounding
    return Estimate(share, middle - reach if share > 0 else 0.0, middle + reach if share < 1 else 1.0, num_rows)


def share_difference_interval(values: Floats, confidence: float) -> Estimate:
    """Interval of the second share minus the first, paired: Agresti and Min (2005), who add half a pair to each kind of disagreement."""
    z, num_rows = normal_quantile(confidence), len(values)
    only_first = float(((values[:, 0] == 1) & (values[:, 1] == 0)).sum()) + 0.5
    only_second = float(((values[:, 1] == 1) & (values[:, 0] == 0)).sum()) + 0.5
    padded = num_rows + 2
    middle = (only_second - only_first) / padded
    reach = z * math.sqrt((only_first + only_second) - (only_second - only_first) ** 2 / padded) / padded
    value = float(values[:, 1].mean() - values[:, 0].mean())
    return Estimate(value, max(-1.0, middle - reach), min(1.0, middle + reach), num_rows)


def normal_quantile(confidence: float) -> float:
    """Standard errors on each side of an interval."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def measurement(name: str, figure: Estimate, comparison: Comparison, confidence: float) -> Measurement:
    """A figure as a report shows it."""
    return Measurement(
        name=name,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        confidence=confidence,
        num_rows=comparison.num_pairs,
        better=comparison.metric.better,
        unit="" if name.startswith("ratio/") else comparison.metric.unit,
    )
