"""Evidently's report on the descriptors, for a person to read; the verdict is ours."""

import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llmops_shared.statistics import Floats

# Evidently names parts of its page by random ids; a report made again from the same exchanges shall have the same bytes
RANDOM_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|(?<=metric_)[0-9a-f]{32}\b")


class EvidentlyReport(NamedTuple):
    """Evidently's page and what its conditions said."""

    html: bytes
    num_conditions: int
    num_failed: int


def make_report(values: Mapping[str, tuple[Floats, Floats]], threshold: float) -> EvidentlyReport:
    """Kolmogorov-Smirnov drift per descriptor, each with the condition p >= `threshold`, and their number with the condition 0."""
    import pandas as pd

    with warnings.catch_warnings():
        # Evidently 0.7.23 uses names that its own dependencies (NumPy, litestar) are about to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import DriftedColumnsCount, ValueDrift
        from evidently.tests import gte, lte

    names = list(values)
    # columns may differ in length: the share of unknown words is measured on half of the texts
    reference, current = (pd.DataFrame({name: pd.Series(values[name][side]) for name in names}) for side in (0, 1))
    definition = DataDefinition(numerical_columns=names)
    metrics = [
        DriftedColumnsCount(columns=names, num_method="ks", num_threshold=threshold, tests=[lte(0)]),
        *(ValueDrift(column=name, method="ks", threshold=threshold, tests=[gte(threshold)]) for name in names),
    ]
    snapshot = Report(metrics).run(
        Dataset.from_pandas(current, data_definition=definition), Dataset.from_pandas(reference, data_definition=definition)
    )
    conditions = snapshot.dict()["tests"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "evidently.html"
        snapshot.save_html(str(path))
        html = path.read_text(encoding="utf-8")
    return EvidentlyReport(
        html=without_random_ids(html).encode(),
        num_conditions=len(conditions),
        num_failed=sum(condition["status"] != "SUCCESS" for condition in conditions),
    )


def without_random_ids(html: str) -> str:
    """The page with its random ids replaced by their rank of appearance."""
    ranks: dict[str, str] = {}

    def rank(found: re.Match[str]) -> str:
        return ranks.setdefault(found[0], f"{len(ranks):032x}")

    return RANDOM_ID.sub(rank, html)
