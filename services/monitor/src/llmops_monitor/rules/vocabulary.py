"""Words as numbers, so that what a rule knows of a word is looked up for a whole column of texts at once."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NO_WORD = 0
"""The number of what is no word; whatever is asked of a word, it has 0."""
NEXT = "\x80"
"""Stands before each text among the words of many. No word has this sign, and it is no white space."""


class Vocabulary(dict[str, int]):
    """Words to their numbers; a new word gets the next one."""

    MAX_WORDS = 200_000
    """A log of random strings must not fill the memory."""

    def __init__(self) -> None:
        super().__init__({"": NO_WORD, NEXT: NO_WORD})
        self._listed = [""]
        self._tables: dict[Hashable, NDArray[Any]] = {}

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self._listed)
        self._listed.append(word)
        return number

    def table(self, of_word: Callable[[str], float], dtype: type = np.int64) -> NDArray[Any]:
        """What a function says of each word, by its number; it is asked once a word."""
        known = self._tables.get(of_word, np.zeros(1, dtype))
        if len(known) < len(self._listed):
            known = np.concatenate([known, np.array([of_word(word) for word in self._listed[len(known) :]], dtype)])
            self._tables[of_word] = known
        return known

    def numbers(self, of_word: Callable[[str], str]) -> Ints:
        """The number of the word that a function makes of each word, by its number; NO_WORD for an empty one."""
        known = self._tables.get(of_word, np.zeros(1, np.int64))
        if len(known) < len(self._listed):
            # the slice comes first: words that are new by this are of no text yet
            known = np.concatenate([known, np.array([self[of_word(word)] for word in self._listed[len(known) :]], np.int64)])
            self._tables[of_word] = known
        return known


_vocabulary = Vocabulary()


def vocabulary() -> Vocabulary:
    """The words met so far, or a new one where they are too many."""
    global _vocabulary
    if len(_vocabulary) > Vocabulary.MAX_WORDS:
        _vocabulary = Vocabulary()
    return _vocabulary
