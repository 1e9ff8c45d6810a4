"""Active learning: which texts to label next, so that fewer labels teach the same (Settles, Active Learning Literature Survey, 2009)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Strategy = Literal["random", "entropy", "margin", "disagreement"]
Floats = NDArray[np.float64]

COMMITTEE = 5
"""Models that vote in `disagreement`, each in a random half of the dimensions (Ho's random subspaces, 1998)."""
CANDIDATES_PER_CHOICE = 3
"""`disagreement` chooses the texts that differ most from each other out of so many times the number wanted."""


NUM_DIMENSIONS = 100
"""Of the latent semantic space the classifier works in."""


class Point(NamedTuple):
    """One point of a learning curve."""

    num_labels: int
    """Texts that were labelled."""
    accuracy: float
    """On the held-out texts."""


def entropy(probabilities: Floats) -> Floats:
    """Entropy of each row of class probabilities [num_texts, num_classes], in nats: high where the model knows least."""
    lost: Floats = -(probabilities * np.log(np.clip(probabilities, 1e-12, None))).sum(axis=1)
    return lost


def margin(probabilities: Floats) -> Floats:
    """How close the two likeliest classes are: 1 minus the difference of their probabilities (Scheffer et al. 2001)."""
    first_two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return 1 - (first_two[:, 1] - first_two[:, 0])


def disagreement(committee: Floats) -> Floats:
    """Mean Kullback-Leibler divergence of each model's probabilities [num_models, num_texts, num_classes] from their mean.

    McCallum and Nigam 1998.
    """
    mean = committee.mean(axis=0)
    ratio = np.log(np.clip(committee, 1e-12, None)) - np.log(np.clip(mean, 1e-12, None))
    divergence: Floats = (committee * ratio).sum(axis=2).mean(axis=0)
    return divergence


def diverse(scores: Floats, vectors: Floats, count: int) -> list[int]:
    """`count` texts, high in score and unlike each other: the farthest from those chosen, of the best `CANDIDATES_PER_CHOICE * count`.

    `vectors` [num_texts, num_dimensions] have length 1. Greedy k-centre (Sener and Savarese 2018), begun with the best score.
    """
    best = np.argsort(-scores, kind="stable")[: CANDIDATES_PER_CHOICE * count]
    chosen = [0]
    nearest = vectors[best] @ vectors[best[0]]
    while len(chosen) < min(count, len(best)):
        nearest[chosen] = np.inf
        farthest = int(np.argmin(nearest))
        chosen.append(farthest)
        nearest = np.maximum(nearest, vectors[best] @ vectors[best[farthest]])
    return [int(best[place]) for place in chosen]


def choose(strategy: Strategy, learner: "Learner", texts: Sequence[int], count: int, random: np.random.Generator) -> list[int]:
    """`count` of the texts to label next."""
    pool = np.asarray(texts)
    if strategy == "random":
        return [int(text) for text in random.choice(pool, min(count, len(pool)), replace=False)]
    if strategy == "disagreement":
        places = diverse(disagreement(learner.committee(texts)), learner.vectors(texts), count)
    else:
        scores = entropy(learner.probabilities(texts)) if strategy == "entropy" else margin(learner.probabilities(texts))
        places = np.argsort(-scores, kind="stable")[:count].tolist()
    return [int(pool[place]) for place in places]


class Learner:
    """A small classifier over all texts: character n-grams in a latent semantic space, logistic regression; the labels come later."""

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), min_df=2, sublinear_tf=True).fit_transform(texts)
        reduced = TruncatedSVD(min(NUM_DIMENSIONS, features.shape[1] - 1), random_state=seed).fit_transform(features)
        self.features: Floats = normalize(reduced)
        self.random = np.random.default_rng(seed)
        self.known: list[int] = []
        self.labels: list[str] = []

    def learn(self, known: Sequence[int], labels: Sequence[str]) -> None:
        """Takes the labels of the known texts. Raises ValueError for fewer than two classes."""
        if len(set(labels)) < 2:
            raise ValueError(f"a classifier needs two classes, the {len(labels)} labels name {len(set(labels))}")
        self.known, self.labels = list(known), list(labels)
        self.model = self._fit(self.features[self.known])

    def _fit(self, features: Floats) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=10.0, max_iter=300).fit(features, self.labels)

    def probabilities(self, texts: Sequence[int]) -> Floats:
        """Class probabilities [num_texts, num_classes], columns in order of the class names."""
        found: Floats = self.model.predict_proba(self.features[list(texts)])
        return found

    def committee(self, texts: Sequence[int]) -> Floats:
        """What models that see another half of the dimensions each say, [COMMITTEE, num_texts, num_classes]."""
        num_dimensions = self.features.shape[1]
        said: list[Floats] = []
        for _ in range(COMMITTEE):
            half = self.random.permutation(num_dimensions)[: max(1, num_dimensions // 2)]
            said.append(self._fit(self.features[self.known][:, half]).predict_proba(self.features[list(texts)][:, half]))
        return np.stack(said)

    def vectors(self, texts: Sequence[int]) -> Floats:
        """The texts as vectors of length 1."""
        return self.features[list(texts)]

    def accuracy(self, texts: Sequence[int], labels: Sequence[str]) -> float:
        """Share of the texts whose likeliest class is the label."""
        return float(np.mean(self.model.predict(self.features[list(texts)]) == np.asarray(labels)))


def simulate(texts: Sequence[str], labels: Sequence[str], strategy: Strategy, start: int, step: int, rounds: int, seed: int) -> list[Point]:
    """The learning curve of a strategy on texts whose labels are known: begun with `start` random ones, `step` more each round.

    Half of the texts are held out for the accuracy; the same seed holds out, and begins with, the same ones for every strategy.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(texts)).tolist()
    held_out, pool = order[: len(texts) // 2], order[len(texts) // 2 :]
    known, left = pool[:start], pool[start:]
    learner, curve = Learner(texts, seed), []
    for number in range(rounds + 1):
        learner.learn(known, [labels[text] for text in known])
        curve.append(Point(len(known), learner.accuracy(held_out, [labels[text] for text in held_out])))
        if number < rounds:
            chosen = choose(strategy, learner, left, step, random)
            known, left = known + chosen, [text for text in left if text not in set(chosen)]
    return curve


def labels_needed(curve: Sequence[Point], accuracy: float) -> int | None:
    """Labels after which the curve first has the accuracy; None where it never has."""
    return next((point.num_labels for point in curve if point.accuracy >= accuracy), None)
