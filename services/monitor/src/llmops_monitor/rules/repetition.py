"""How much a text says again."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from llmops_monitor.rules.texts import Bools, Text, Texts
from llmops_monitor.rules.vocabulary import NO_WORD
from llmops_shared.statistics import Floats

FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
"""Large odd numbers, each for a place in a run."""


def repeated_trigram_share(texts: Texts) -> Floats:
    """Share of three-word runs that came before in the text (Welleck et al. 2020 for four words); 0 below four words."""
    return texts.look_at(may_repeat(texts), share_of)


def may_repeat(texts: Texts) -> Bools:
    """Which texts have a run twice, by 48 bits of a product of its words: hardly another has."""
    words = texts.numbers.astype(np.uint64)
    runs = (words[:-2] * FACTORS[0] + words[1:-1] * FACTORS[1] + words[2:] * FACTORS[2]) >> np.uint64(16)
    runs |= texts.owners[:-2].astype(np.uint64) << np.uint64(48)
    runs = np.sort(runs[(words[:-2] > NO_WORD) & (words[1:-1] > NO_WORD) & (words[2:] > NO_WORD)])
    found = np.zeros(len(texts), np.bool_)
    found[(runs[1:][runs[1:] == runs[:-1]] >> np.uint64(48)).astype(np.int64)] = True
    return found


def share_of(text: Text) -> float:
    """The share of one text."""
    words = text.words
    total = len(words) - 2
    return 1 - len(set(zip(words, words[1:], words[2:], strict=False))) / total if total > 1 else 0.0


def repeatability(answers: Sequence[Text]) -> float:
    """How alike k answers to one prompt are: mean Jaccard similarity of their words over all pairs, 1 for equal answers.

    Needs two answers at least.
    """
    shares = [alike(first.distinct, second.distinct) for first, second in combinations(answers, 2)]
    return sum(shares) / len(shares)


def alike(first: set[str], second: set[str]) -> float:
    """Jaccard similarity; 1 for two empty sets."""
    union = len(first | second)
    return len(first & second) / union if union else 1.0
