"""Whether a text is kind or unkind, by VADER's hand-rated lexicon (Hutto and Gilbert 2014)."""

import functools
from importlib.resources import files

import numpy as np

from llmops_monitor.rules.texts import Texts
from llmops_monitor.rules.vocabulary import Ints
from llmops_shared.statistics import Floats

NEGATIONS = frozenset(
    "not no never none nobody nothing neither nor nowhere cannot cant can't won't wont don't dont doesn't didn't isn't isnt aren't "
    "wasn't weren't without hardly barely rarely seldom couldn't shouldn't wouldn't hasn't haven't hadn't ain't lacks lack".split()
)
BOOSTERS = {
    **dict.fromkeys(
        "very really so extremely absolutely completely incredibly totally highly too most more such truly utterly".split(), 0.293
    ),
    **dict.fromkeys("somewhat slightly kind partly little less almost barely marginally".split(), -0.293),
}
NEGATED = -0.74
"""What a negation within three words makes of a valence; a figure of the paper."""


@functools.cache
def lexicon() -> dict[str, float]:
    """Word to valence, -4 to 4: the mean of ten raters."""
    text = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8")
    return {fields[0]: float(fields[1]) for line in text.splitlines() if len(fields := line.split("\t")) > 1}


def valence(word: str) -> float:
    """The lexicon's figure; it has none of 0."""
    return lexicon().get(word, 0.0)


def boost(word: str) -> float:
    """What a word adds to the strength of the next one; some take from it."""
    return BOOSTERS.get(word, 0.0)


def sentiment(texts: Texts) -> Floats:
    """-1 (unkind) to 1 (kind); 0 where no word of the lexicon occurs."""
    valences = texts.of_words(valence, np.float64)
    at = np.flatnonzero(valences)
    owners, valences = texts.owners[at], valences[at]
    valences += texts.of_words(boost, np.float64)[at - 1] * np.sign(valences)
    negates, starts = texts.of_words(NEGATIONS.__contains__, np.bool_), texts.starts[owners]
    negated = negates[at - 1] | (negates[at - 2] & (at - 2 > starts)) | (negates[at - 3] & (at - 3 > starts))
    valences[negated] *= NEGATED
    # what comes after "but" is what is meant; weights of the paper
    turns = first_but(texts)[owners]
    valences[turns >= 0] *= np.where(at > turns, 1.5, 0.5)[turns >= 0]
    total = np.bincount(owners, valences, len(texts))
    figures: Floats = total / np.sqrt(total * total + 15)
    return figures


def first_but(texts: Texts) -> Ints:
    """Where in `numbers` each text first has "but"; -1 where it has none [num_texts]."""
    at = np.flatnonzero(texts.numbers == texts.vocabulary["but"])
    owners, first = np.unique(texts.owners[at], return_index=True)
    found = np.full(len(texts), -1)
    found[owners] = at[first]
    return found
