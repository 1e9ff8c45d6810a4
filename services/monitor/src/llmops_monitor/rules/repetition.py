"""How much a text says again."""

from collections.abc import Sequence
from itertools import combinations

from llmops_monitor.rules.words import Words


def repeated_trigram_share(text: Words) -> float:
    """Share of three-word runs that came before in the text (Welleck et al. 2020 for four words); 0 below four words."""
    words = text.words
    total = len(words) - 2
    # each of the three words of a run that is said again was said before
    if total < 2 or len(words) - len(text.distinct) < 3:
        return 0.0
    return 1 - len(set(zip(words, words[1:], words[2:], strict=False))) / total


def repeatability(answers: Sequence[Words]) -> float:
    """How alike k answers to one prompt are: mean Jaccard similarity of their words over all pairs, 1 for equal answers.

    Needs two answers at least.
    """
    shares = [alike(first.distinct, second.distinct) for first, second in combinations(answers, 2)]
    return sum(shares) / len(shares)


def alike(first: set[str], second: set[str]) -> float:
    """Jaccard similarity; 1 for two empty sets."""
    union = len(first | second)
    return len(first & second) / union if union else 1.0
