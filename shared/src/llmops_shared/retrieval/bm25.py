"""Search by words: how much each word of a chunk says, by BM25 (Robertson and Zaragoza 2009), in the order a database wants it."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmops_shared.retrieval.lsa import count_words

SATURATION, LENGTH_SHARE = 1.2, 0.75  # k1 and b
COMMON_SHARE = 0.05  # a word in more chunks than this says little, and its list would be long
SMALL = 1000  # chunks; below that no word is left out


class Postings(NamedTuple):
    """The chunks of one word."""

    word: str
    numbers: NDArray[np.int32]
    """Places of the chunks, from 0."""
    weights: NDArray[np.float32]
    """What the word adds to the score of each."""


def postings(texts: Sequence[str]) -> Iterator[Postings]:
    """The chunks of every word that is not too common, in order of the words."""
    counted = [count_words(text) for text in texts]
    vocabulary = sorted(set(chain.from_iterable(counted)))
    places = {word: place for place, word in enumerate(vocabulary)}
    sizes = np.fromiter((len(counts) for counts in counted), dtype=np.int64, count=len(counted))
    words = np.fromiter((places[word] for counts in counted for word in counts), dtype=np.int64, count=int(sizes.sum()))
    counts = np.fromiter(chain.from_iterable(counts.values() for counts in counted), dtype=np.float32, count=len(words))
    numbers = np.repeat(np.arange(len(texts), dtype=np.int32), sizes)
    lengths = np.bincount(numbers, counts, minlength=len(texts)).astype(np.float32)
    norms = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths / max(float(lengths.mean()) if len(texts) else 1.0, 1e-9))
    frequency = np.bincount(words, minlength=len(vocabulary))
    rarity = np.log1p((len(texts) - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    weights = rarity[words] * counts * (SATURATION + 1) / (counts + norms[numbers])
    order = np.argsort(words, kind="stable")
    numbers, sorted_weights = numbers[order], weights[order].astype(np.float32)
    ends = np.cumsum(frequency)
    for place, word in enumerate(vocabulary):
        if len(texts) < SMALL or frequency[place] <= COMMON_SHARE * len(texts):
            chosen = slice(ends[place] - frequency[place], ends[place])
            yield Postings(word, numbers[chosen], sorted_weights[chosen])
