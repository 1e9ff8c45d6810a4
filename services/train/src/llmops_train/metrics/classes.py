"""Classification: accuracy, precision, recall, F1 and Matthews correlation, equal to scikit-learn's with zero_division=0."""

from collections.abc import Sequence

import numpy as np

from llmops_shared.errors import LlmopsError
from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Floats, Scores, make_scores

KINDS = ("accuracy", "precision", "recall", "f1", "mcc")
OTHER = "\0other"
MAX_CLASSES = 100


def classes(kind: str, pairs: Pairs, positive: str | None = None) -> Scores:
    """One of the five; with `positive`, precision, recall and F1 are of that class, else the mean over classes.

    Classes are the references' labels; any other prediction counts as one class more. Raises LlmopsError for more than 100
    classes, or a positive class that no reference has.
    """
    wanted, given = [one[0].strip() for one in pairs.references], [text.strip() for text in pairs.predictions]
    labels = sorted(set(wanted))
    if len(labels) > MAX_CLASSES:
        raise LlmopsError(f"{kind}: the references have {len(labels)} labels, more than {MAX_CLASSES}: these are texts, not classes")
    of_class = kind in ("precision", "recall", "f1")
    signature = "scikit-learn:confusion|zero_division:0"
    if of_class and positive is not None:
        if positive not in labels:
            raise LlmopsError(f"positive_label {positive!r}: no reference has it (has {', '.join(labels[:10])}); name one of these")
        wanted, given = [str(one == positive) for one in wanted], [str(one == positive) for one in given]
        return make_scores(
            kind, pairs.row_ids, one_hot(wanted, given, ["False", "True"]), f"{signature}|positive:{positive}", f"{kind}_binary"
        )
    formula = f"{kind}_macro" if of_class else kind
    return make_scores(
        kind, pairs.row_ids, one_hot(wanted, given, [*labels, OTHER]), f"{signature}|macro" if of_class else signature, formula
    )


def one_hot(wanted: Sequence[str], given: Sequence[str], labels: Sequence[str]) -> Floats:
    """Each row's cell in the table of reference by predicted class."""
    places = {label: place for place, label in enumerate(labels)}
    cells = [places[one] * len(labels) + places.get(other, len(labels) - 1) for one, other in zip(wanted, given, strict=True)]
    table = np.zeros((len(cells), len(labels) ** 2))
    table[np.arange(len(cells)), cells] = 1
    return table
