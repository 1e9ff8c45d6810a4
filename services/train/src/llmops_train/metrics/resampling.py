"""Intervals and paired tests over Scores, by sums of redrawn rows, seeded."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from llmops_shared.statistics import Estimate
from llmops_train.metrics.scores import FORMULAS, Floats, Scores

NUMBERS_AT_A_TIME = 8_000_000  # 64 MB of redrawn rows


class Difference(NamedTuple):
    """Second system minus first, on the rows both have."""

    value: float
    low: float
    high: float
    p: float
    """How often chance alone gives a difference as large: approximate randomisation, two-sided."""
    first: float
    """Figure of the first system on these rows."""
    second: float
    """Figure of the second."""
    num_rows: int


def interval(scores: Scores, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0) -> Estimate:
    """The figure with its percentile bootstrap interval (Efron 1979)."""
    formula, num_rows = FORMULAS[scores.formula], len(scores.row_ids)
    random = np.random.default_rng(seed)
    drawn = [formula(counts @ scores.table, num_rows) for counts in redraw(num_rows, num_resamples, random)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Estimate(scores.value(), float(low), float(high), num_rows)


def redraw(num_rows: int, num_resamples: int, random: np.random.Generator) -> Iterator[Floats]:
    """How often each row was drawn, shape [block, num_rows], until there are `num_resamples`."""
    for size in blocks(num_rows, num_resamples):
        places = random.integers(0, num_rows, (size, num_rows)) + np.arange(size)[:, None] * num_rows
        yield np.bincount(places.ravel(), minlength=size * num_rows).reshape(size, num_rows).astype(np.float64)


def blocks(num_rows: int, num_resamples: int) -> Iterator[int]:
    """Sizes of the blocks that many resamples are drawn in."""
    block = max(1, min(num_resamples, NUMBERS_AT_A_TIME // num_rows))
    for start in range(0, num_resamples, block):
        yield min(block, num_resamples - start)


def paired(first: Scores, second: Scores, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0) -> Difference:
    """Compares two systems on their common rows: a paired bootstrap for the interval, approximate randomisation for p.

    Approximate randomisation (Noreen 1989; for corpus metrics Riezler and Maxwell 2005, https://aclanthology.org/W05-0908)
    swaps the two systems' rows at random: were they the same, no swap would matter. Raises ValueError when the two measures
    are not the same or have no row in common.
    """
    if (first.name, first.formula, first.table.shape[1]) != (second.name, second.formula, second.table.shape[1]):
        raise ValueError(f"{first.name} and {second.name} are not the same measure")
    places = {row_id: place for place, row_id in enumerate(second.row_ids)}
    common = [(place, places[row_id]) for place, row_id in enumerate(first.row_ids) if row_id in places]
    if not common:
        raise ValueError("no row in common")
    one, other = first.table[[pair[0] for pair in common]], second.table[[pair[1] for pair in common]]
    formula, num_rows = FORMULAS[first.formula], len(common)
    random = np.random.default_rng(seed)

    drawn = [formula(counts @ other, num_rows) - formula(counts @ one, num_rows) for counts in redraw(num_rows, num_resamples, random)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])

    value_one, value_other = float(formula(one.sum(0), num_rows)), float(formula(other.sum(0), num_rows))
    as_large, gap = 0, other - one
    threshold = abs(value_other - value_one) * (1 - 1e-9)  # rounding must not make equal differences count as smaller
    for size in blocks(num_rows, num_resamples):
        moved = (random.random((size, num_rows)) < 0.5).astype(np.float64) @ gap
        swapped = formula(other.sum(0) - moved, num_rows) - formula(one.sum(0) + moved, num_rows)
        as_large += int((np.abs(swapped) >= threshold - 1e-12).sum())
    p = (as_large + 1) / (num_resamples + 1)
    return Difference(value_other - value_one, float(low), float(high), p, value_one, value_other, num_rows)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
