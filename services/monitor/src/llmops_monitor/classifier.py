"""Whether a classifier can tell two windows apart by their words: the domain classifier test (Lopez-Paz and Oquab 2017)."""

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmops_monitor.descriptors import Text
from llmops_shared.statistics import Estimate, Floats

MAX_ROWS = 500
"""Texts of one window the classifier looks at: its cost grows with the square, and so many tell an AUC of 0.56 from chance."""
NUM_FOLDS = 5
RIDGE = 1.0
BLOCK = 500
"""Relabellings judged at a time."""
ENOUGH_REACHED = 50
"""So many relabellings as good as the true one settle that there is nothing (Besag and Clifford 1991)."""


class Separation(NamedTuple):
    """How well the windows can be told apart."""

    auc: Estimate
    """Chance that a text of the current window scores higher than one of the reference, on texts the classifier did not see."""
    p_value: float
    """Share of random relabellings that are told apart as well."""
    most_current: list[int]
    """Indices of the current window's texts, the one least like the reference first."""


def separate(reference: Sequence[Text], current: Sequence[Text], num_permutations: int, confidence: float, seed: int) -> Separation:
    """Cross-validated AUC and its permutation test, on hashed words, word pairs and character n-grams.

    Texts of one prompt are in one fold: a classifier that has seen a prompt's twin is no evidence.
    """
    random = np.random.default_rng(seed)
    kept = [np.sort(random.permutation(len(window))[:MAX_ROWS]) for window in (reference, current)]
    texts = [reference[index] for index in kept[0]] + [current[index] for index in kept[1]]
    folds = np.array([hashlib.sha256(b"fold" + text.signature.encode()).digest()[0] % NUM_FOLDS for text in texts])
    return tell_apart(similarities([text.content for text in texts]), folds, kept, num_permutations, confidence, random)


def separate_vectors(reference: Floats, current: Floats, num_permutations: int, confidence: float, seed: int) -> Separation:
    """The same on embeddings, [num_texts, num_dimensions] each; equal vectors are in one fold."""
    random = np.random.default_rng(seed)
    kept = [np.sort(random.permutation(len(window))[:MAX_ROWS]) for window in (reference, current)]
    vectors = np.concatenate([reference[kept[0]], current[kept[1]]])
    folds = np.array([hashlib.sha256(b"fold" + np.round(vector, 6).tobytes()).digest()[0] % NUM_FOLDS for vector in vectors])
    return tell_apart(np.asarray(vectors @ vectors.T, dtype=np.float64), folds, kept, num_permutations, confidence, random)


def tell_apart(
    products: Floats,
    folds: NDArray[np.int64],
    kept: Sequence[NDArray[np.int64]],
    num_permutations: int,
    confidence: float,
    random: np.random.Generator,
) -> Separation:
    """A ridge classifier on inner products, [num_texts, num_texts], the reference's texts first.

    For it the held-out scores are a fixed matrix times the labels, so that thousands of relabellings cost one matrix product and
    the test is exact, where the usual interval of a cross-validated AUC is not.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    labels = np.repeat([0.0, 1.0], [len(kept[0]), len(kept[1])])
    with threadpool_limits(1):  # more threads wait for each other on matrices of this size, many times as long on a busy machine
        matrices = held_out(products, folds)
        scores = held_out_scores(matrices, folds, labels)
        auc, to_reference, to_current = placements(scores, folds, labels)
        relabelled = relabelled_aucs(auc, matrices, folds, labels, num_permutations, random)
    return Separation(
        auc=interval(auc, to_reference, to_current, relabelled, confidence),
        p_value=(1 + int((relabelled >= auc - 1e-12).sum())) / (1 + len(relabelled)),
        most_current=[int(kept[1][index]) for index in np.argsort(-scores[labels == 1], kind="stable")],
    )


def similarities(texts: Sequence[str]) -> Floats:
    """Inner products of the texts' features, [num_texts, num_texts]: half the weight on words and pairs, half on character n-grams."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    total = np.zeros((len(texts), len(texts)))
    for options in ({"ngram_range": (1, 2), "token_pattern": r"\w+"}, {"analyzer": "char_wb", "ngram_range": (2, 4)}):
        counts = HashingVectorizer(n_features=2**18, alternate_sign=False, norm=None, **options).transform(texts)
        features = TfidfTransformer(sublinear_tf=True).fit_transform(counts)  # weights from both windows: they do not know the labels
        total += (features @ features.T).toarray() / 2
    return total


def held_out(products: Floats, folds: NDArray[np.int64]) -> list[Floats]:
    """For each fold the matrix that maps the labels of all other texts to scores of its own, [num_in_fold, num_others]."""
    matrices = []
    for fold in range(NUM_FOLDS):
        inside, outside = folds == fold, folds != fold
        ridge = products[np.ix_(outside, outside)] + RIDGE * np.eye(int(outside.sum()))
        matrices.append(np.asarray(np.linalg.solve(ridge, products[np.ix_(outside, inside)]).T, dtype=np.float64))
    return matrices


def relabelled_aucs(
    auc: float, matrices: Sequence[Floats], folds: NDArray[np.int64], labels: Floats, num_permutations: int, random: np.random.Generator
) -> Floats:
    """AUCs of random relabellings; fewer than `num_permutations` once enough of them reach `auc`."""
    found = np.empty(0)
    while len(found) < num_permutations and (found >= auc - 1e-12).sum() < ENOUGH_REACHED:
        relabelled = random.permuted(np.tile(labels, (BLOCK, 1)), axis=1)
        found = np.concatenate([found, fold_auc(matrices, folds, relabelled)])
    return found


def fold_scores(matrix: Floats, labels: Floats) -> Floats:
    """Scores of a fold, [num_labellings, num_in_fold], for the labels of all others, [num_labellings, num_others]."""
    # centred, so that the sizes of the windows are of no account; rounded, for equal texts have equal scores but for the last digits
    scores: Floats = np.round((labels - labels.mean(axis=1, keepdims=True)) @ matrix.T, 9)
    return scores


def fold_auc(matrices: Sequence[Floats], folds: NDArray[np.int64], labels: Floats) -> Floats:
    """AUC over pairs of texts within one fold, [num_labellings]; scores of different folds come from different classifiers.

    Equal scores are ordered by index, which relabelling makes a fair draw.
    """
    wins, pairs = np.zeros(len(labels)), np.zeros(len(labels))
    for fold, matrix in enumerate(matrices):
        inside = folds == fold
        order = np.argsort(fold_scores(matrix, labels[:, ~inside]), axis=1)
        ranked = np.take_along_axis(labels[:, inside], order, axis=1)
        wins += (ranked * np.cumsum(1 - ranked, axis=1)).sum(axis=1)
        pairs += ranked.sum(axis=1) * (1 - ranked).sum(axis=1)
    result: Floats = wins / np.maximum(pairs, 1)
    return result


def held_out_scores(matrices: Sequence[Floats], folds: NDArray[np.int64], labels: Floats) -> Floats:
    """The score of each text by the classifier that did not see its fold, [num_texts]."""
    scores = np.zeros(len(labels))
    for fold, matrix in enumerate(matrices):
        scores[folds == fold] = fold_scores(matrix, labels[None, folds != fold])[0]
    return scores


def placements(scores: Floats, folds: NDArray[np.int64], labels: Floats) -> tuple[float, Floats, Floats]:
    """AUC, and for each text of the reference and of the current window the share of the other window's texts on the right side.

    Only texts of one fold are compared; equal scores count half.
    """
    shares, weights = np.full(len(labels), 0.5), np.zeros(len(labels))
    for fold in range(NUM_FOLDS):
        low, high = np.flatnonzero((folds == fold) & (labels == 0)), np.flatnonzero((folds == fold) & (labels == 1))
        if len(low) and len(high):
            right = (scores[high][:, None] > scores[low][None]) + 0.5 * (scores[high][:, None] == scores[low][None])
            shares[high], shares[low] = right.mean(axis=1), right.mean(axis=0)
            weights[high], weights[low] = len(low), len(high)
    current = labels == 1
    auc = float((shares * weights)[current].sum() / max(weights[current].sum(), 1))
    return auc, shares[~current], shares[current]


def interval(auc: float, to_reference: Floats, to_current: Floats, relabelled: Floats, confidence: float) -> Estimate:
    """DeLong's interval (1988), widened by what sharing the training texts adds to the spread of a cross-validated AUC.

    The addition is read from the relabellings: their spread over the one that scores of a given classifier would have.
    """
    num_reference, num_current = len(to_reference), len(to_current)
    given = math.sqrt((num_reference + num_current + 1) / (12 * num_reference * num_current))
    widening = max(1.0, float(relabelled.std()) / given)
    spread = math.sqrt(to_reference.var(ddof=1) / num_reference + to_current.var(ddof=1) / num_current)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * spread * widening
    return Estimate(auc, max(0.0, auc - reach), min(1.0, auc + reach), num_reference + num_current)
