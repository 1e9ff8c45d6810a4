"""What 1,000 good answers cost: the one figure in which a tuned model, retrieval and a longer prompt can be compared."""

import math
from collections.abc import Sequence

import numpy as np

from llmops_monitor.metrics import Metric
from llmops_monitor.pairs import failed
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.report import Measurement
from llmops_shared.statistics import Floats, bootstrap

NAME = "usd_per_1000_good_answers"

Answer = tuple[Exchange, str | None]
"""An answer and its reference, where there is one."""


def good_answers_cost(
    role: str, answers: Sequence[Answer], quality: Metric, cost: Metric, good_at_least: float, confidence: float, seed: int = 0
) -> list[Measurement]:
    """1,000 x what all answers cost / how many are good, in USD; failed requests cost nothing and are no good answers.

    Nothing where no answer has a price and a quality, or none is good. The interval is the bootstrap's over answers; it has no upper
    end where a resample may hold no good answer.
    """
    rows = []
    for exchange, reference in answers:
        usd, value = cost.value(exchange, reference), quality.value(exchange, reference)
        if failed(exchange):
            rows.append((usd or 0.0, 0.0))
        elif usd is not None and value is not None:
            rows.append((usd, float(value >= good_at_least)))
    if not any(good for _, good in rows) or not any(usd for usd, _ in rows):
        return []
    found = bootstrap(np.array(rows), usd_per_1000, confidence, seed=seed)
    return [
        Measurement(
            name=f"{role}/{NAME}",
            value=found.value,
            low=found.low,
            high=found.high if math.isfinite(found.high) else None,
            confidence=confidence,
            num_rows=found.num_rows,
            better="lower",
            unit="USD",
            details={"good": f"{quality.name} of at least {good_at_least:g}"},
        )
    ]


def usd_per_1000(rows: Floats) -> Floats:
    """The figure of each row set, shape [..., num_rows, 2] of cost and whether it is good; infinite without a good one."""
    good = rows[..., 1].sum(axis=-1)
    with np.errstate(divide="ignore"):
        result: Floats = 1000 * rows[..., 0].sum(axis=-1) / good
    return result
