"""Answers against references: exact match, and the exact match and F1 of SQuAD (Rajpurkar et al. 2016), as its evaluation script v1.1."""

import re
import string
from collections import Counter

from llmops_train.metrics.pairs import Pairs
from llmops_train.metrics.scores import Scores, make_scores

KINDS = ("exact_match", "squad_exact_match", "squad_f1")

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def answers(kind: str, pairs: Pairs) -> Scores:
    """One of the three in [0, 1]; the best reference counts."""
    if kind == "exact_match":
        same = [float(prediction in references) for prediction, references in zip(pairs.predictions, pairs.references, strict=True)]
        return make_scores(kind, pairs.row_ids, same, "exact")
    values = [
        max(score(kind, prediction, reference) for reference in references)
        for prediction, references in zip(pairs.predictions, pairs.references, strict=True)
    ]
    return make_scores(kind, pairs.row_ids, values, "squad:1.1|lower|no articles|no punctuation")


def score(kind: str, prediction: str, reference: str) -> float:
    """One pair."""
    if kind == "squad_exact_match":
        return float(normalize(prediction) == normalize(reference))
    return token_f1(normalize(prediction).split(), normalize(reference).split())


def normalize(text: str) -> str:
    """Lower case without punctuation, articles and doubled blanks."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def token_f1(found: list[str], wanted: list[str]) -> float:
    """F1 of the words two texts share."""
    hits = (Counter(found) & Counter(wanted)).total()
    return 2 * hits / (len(found) + len(wanted)) if hits else 0.0
