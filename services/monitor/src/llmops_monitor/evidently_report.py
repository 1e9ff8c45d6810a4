"""Evidently's report on the descriptors, for a person to read; the verdict is ours."""

import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmops_shared.statistics import Floats

NUM_DIMENSIONS = 32
# Evidently names parts of its page by random ids; a report made again from the same exchanges shall have the same bytes
RANDOM_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|(?<=metric_)[0-9a-f]{32}\b")


class EvidentlyReport(NamedTuple):
    """Evidently's page and what its conditions said."""

    html: bytes
    num_conditions: int
    num_failed: int


def make_report(
    values: Mapping[str, tuple[Floats, Floats]], threshold: float, texts: tuple[Sequence[str], Sequence[str]] | None = None
) -> EvidentlyReport:
    """Kolmogorov-Smirnov drift per descriptor, each with the condition p >= `threshold`, and their number with the condition 0.

    With `texts` (reference, current; nothing in them is hidden from the page) also Evidently's drift of texts, a classifier on words
    with the condition that it is hardly better than chance, and of embeddings.
    """
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
    metrics: list[Any] = [
        DriftedColumnsCount(columns=names, num_method="ks", num_threshold=threshold, tests=[lte(0)]),
        *(ValueDrift(column=name, method="ks", threshold=threshold, tests=[gte(threshold)]) for name in names),
    ]
    if texts is not None:
        reference, current, definition, more = with_texts(reference, current, names, texts)
        metrics += more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's of Evidently's own calls
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


def with_texts(
    reference: Any, current: Any, names: Sequence[str], texts: tuple[Sequence[str], Sequence[str]]
) -> tuple[Any, Any, Any, list[Any]]:
    """Both tables with a column of texts and columns of their embeddings (by LSA), what they are, and the metrics on them."""
    import pandas as pd
    from evidently import DataDefinition
    from evidently.metrics import ValueDrift
    from evidently.metrics.embeddings import EmbeddingsDrift
    from evidently.tests import lte
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = TfidfVectorizer(sublinear_tf=True).fit_transform([*texts[0], *texts[1]])
    vectors = TruncatedSVD(min(NUM_DIMENSIONS, counts.shape[1] - 1), random_state=0).fit_transform(counts)
    columns = [f"embedding_{number}" for number in range(vectors.shape[1])]
    tables = []
    for table, side, rows in ((reference, 0, vectors[: len(texts[0])]), (current, 1, vectors[len(texts[0]) :])):
        wider = pd.DataFrame({"text": pd.Series(list(texts[side]))}).join(pd.DataFrame(rows, columns=columns))
        tables.append(table.join(wider, how="right"))
    definition = DataDefinition(numerical_columns=list(names), text_columns=["text"], embeddings={"texts": columns})
    # area under the classifier's ROC curve, of which Evidently calls more than 0.55 drift
    more = [
        ValueDrift(column="text", method="abs_text_content_drift", threshold=0.55, tests=[lte(0.55)]),
        EmbeddingsDrift(embeddings_name="texts"),
    ]
    return tables[0], tables[1], definition, more


def without_random_ids(html: str) -> str:
    """The page with its random ids replaced by their rank of appearance."""
    ranks: dict[str, str] = {}

    def rank(found: re.Match[str]) -> str:
        return ranks.setdefault(found[0], f"{len(ranks):032x}")

    return RANDOM_ID.sub(rank, html)
