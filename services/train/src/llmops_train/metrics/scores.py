"""Scores: what each row adds to a figure, and the formula from the sums to the figure.

Keeping the rows apart from the formula is what makes intervals, paired tests and resuming exact: any subset of rows,
drawn any number of times, has its figure by adding the rows up again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmops_shared.errors import LlmopsError

Floats = NDArray[np.float64]
Formula = Callable[[Floats, int], Floats]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Scores:
    """One measure over rows."""

    name: str
    """Measure, as in the config and the report."""
    row_ids: Sequence[str]
    """Rows, in the order of `table`."""
    table: Floats
    """What each row adds, shape [num_rows, num_columns]."""
    formula: str
    """Key of FORMULAS: from sums [..., num_columns] and the number of rows to figures [...]."""
    better: Better
    signature: str
    """Library, version and options: whoever uses the same gets the same figure."""

    def value(self) -> float:
        """The figure over all rows."""
        return float(FORMULAS[self.formula](self.table.sum(0), len(self.row_ids)))


def make_scores(
    name: str, row_ids: Sequence[str], rows: ArrayLike, signature: str, formula: str = "mean", better: Better = "higher"
) -> Scores:
    """Scores of one value or one list of values a row. Raises LlmopsError that names a row whose value is not finite."""
    table = np.asarray(rows, dtype=np.float64)
    if len(table) == 0:
        raise LlmopsError(f"{name}: there is no row to measure it on; judge a split that has some, or leave {name} out of measures")
    table = table.reshape(len(table), -1)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise LlmopsError(f"{name}: row {row_ids[bad[0]]} has a value that is no number; {len(bad)} such rows: correct or remove them")
    return Scores(name, row_ids, table, formula, better, signature)


def join_scores(parts: Sequence[Scores]) -> Scores:
    """Scores of several batches as one."""
    first = parts[0]
    row_ids = [row_id for part in parts for row_id in part.row_ids]
    return replace(first, row_ids=row_ids, table=np.concatenate([part.table for part in parts]))


def divide(above: Floats, below: Floats) -> Floats:
    """above / below, 0 where there is nothing below, as scikit-learn does with zero_division=0."""
    result: Floats = np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
    return result


def mean(sums: Floats, num_rows: int) -> Floats:
    """Mean of the first column."""
    result: Floats = sums[..., 0] / num_rows
    return result


def ratio(sums: Floats, num_rows: int) -> Floats:
    """First column over the second."""
    return divide(sums[..., 0], sums[..., 1])


def exp_ratio(sums: Floats, num_rows: int) -> Floats:
    """exp of first column over second: perplexity from nats and tokens."""
    result: Floats = np.exp(ratio(sums, num_rows))
    return result


def bits_ratio(sums: Floats, num_rows: int) -> Floats:
    """First column in nats over the second, in bits."""
    result: Floats = ratio(sums, num_rows) / np.log(2)
    return result


def bleu(sums: Floats, num_rows: int) -> Floats:
    """BLEU of orders 1 to 4 with `exp` smoothing, from (system length, reference length, 4 x correct, 4 x total); 0 to 100."""
    system, reference, correct, total = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    shortage = divide(reference, system)
    brevity = np.where(system < reference, np.where(system > 0, np.exp(np.minimum(1 - shortage, 0)), 0.0), 1.0)
    missing = correct == 0
    precision = divide(100 * np.where(missing, 1.0, correct), total * np.where(missing, 2.0 ** missing.cumsum(-1), 1.0))
    with np.errstate(divide="ignore"):
        geometric = np.exp(np.log(precision).mean(-1))  # a precision of 0 makes it 0
    result: Floats = np.where(missing.all(-1), 0.0, brevity * geometric)
    return result


def chrf(sums: Floats, num_rows: int, beta: int = 2) -> Floats:
    """chrF over the orders that both sides have, from (hypothesis, reference, match) for each order; 0 to 100."""
    hypothesis, reference, match = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (hypothesis > 0) & (reference > 0)
    orders = counted.sum(-1)
    precision = divide(np.where(counted, divide(match, hypothesis), 0.0).sum(-1), orders)
    recall = divide(np.where(counted, divide(match, reference), 0.0).sum(-1), orders)
    return 100 * divide((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def chrf_eps(sums: Floats, num_rows: int, beta: int = 2) -> Floats:
    """chrF as its author's program and Moses compute it: the mean F over all orders, an empty order counting next to nothing."""
    hypothesis, reference, match = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    precision = np.where(hypothesis > 0, divide(match, hypothesis), 1e-16)
    recall = np.where(reference > 0, divide(match, reference), 1e-16)
    f = divide((1 + beta**2) * precision * recall, beta**2 * precision + recall)
    result: Floats = 100 * f.mean(-1)
    return result


def chrf_eps_3(sums: Floats, num_rows: int) -> Floats:
    """The same with beta 3, the value of the first publication (Popović 2015)."""
    return chrf_eps(sums, num_rows, 3)


def ter(sums: Floats, num_rows: int) -> Floats:
    """Edits over reference words; 100 is one edit a word."""
    edits, words = sums[..., 0], sums[..., 1]
    result: Floats = 100 * np.where(words > 0, divide(edits, words), (edits > 0) * 1.0)
    return result


def confusion(sums: Floats) -> Floats:
    """Counts [..., reference class, predicted class] from flat ones."""
    size = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], size, size)


def accuracy(sums: Floats, num_rows: int) -> Floats:
    """Share on the diagonal."""
    return divide(np.trace(confusion(sums), axis1=-2, axis2=-1), sums.sum(-1))


def by_class(sums: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Precision, recall and F1 of each class, and which classes occur at all."""
    table = confusion(sums)
    right, wanted, given = np.diagonal(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)
    return divide(right, given), divide(right, wanted), divide(2 * right, wanted + given), (wanted + given) > 0


def precision_macro(sums: Floats, num_rows: int) -> Floats:
    """Mean precision of the classes that occur."""
    precision, _, _, present = by_class(sums)
    return divide(precision.sum(-1), present.sum(-1))


def recall_macro(sums: Floats, num_rows: int) -> Floats:
    """Mean recall of the classes that occur."""
    _, recall, _, present = by_class(sums)
    return divide(recall.sum(-1), present.sum(-1))


def f1_macro(sums: Floats, num_rows: int) -> Floats:
    """Mean F1 of the classes that occur."""
    _, _, f1, present = by_class(sums)
    return divide(f1.sum(-1), present.sum(-1))


def mcc(sums: Floats, num_rows: int) -> Floats:
    """Matthews correlation of any number of classes (Gorodkin 2004)."""
    table = confusion(sums)
    wanted, given, total = table.sum(-1), table.sum(-2), table.sum((-2, -1))
    right = np.trace(table, axis1=-2, axis2=-1)
    above = right * total - (wanted * given).sum(-1)
    below = np.sqrt((total**2 - (given**2).sum(-1)) * (total**2 - (wanted**2).sum(-1)))
    return divide(above, below)


def precision_binary(sums: Floats, num_rows: int) -> Floats:
    """Precision of the positive class, which is class 1."""
    return by_class(sums)[0][..., 1]


def recall_binary(sums: Floats, num_rows: int) -> Floats:
    """Recall of the positive class."""
    return by_class(sums)[1][..., 1]


def f1_binary(sums: Floats, num_rows: int) -> Floats:
    """F1 of the positive class."""
    return by_class(sums)[2][..., 1]


FORMULAS: dict[str, Formula] = {
    formula.__name__: formula
    for formula in (
        mean,
        ratio,
        exp_ratio,
        bits_ratio,
        bleu,
        chrf,
        chrf_eps_3,
        ter,
        accuracy,
        precision_macro,
        recall_macro,
        f1_macro,
        precision_binary,
        recall_binary,
        f1_binary,
        mcc,
    )
}
