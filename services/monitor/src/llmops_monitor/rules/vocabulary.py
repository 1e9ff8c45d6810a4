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

    MAX_CHARACTERS = 2_000_000
    """Of all words together, a quarter of a million of them: a log of random strings must not fill the memory."""

    def __init__(self) -> None:
        super().__init__({"": NO_WORD, NEXT: NO_WORD})
        self.num_characters = 0
        self._listed = [""]
        self._tables: dict[Hashable, NDArray[Any]] = {}

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self._listed)
        self._listed.append(word)
        self.num_characters += len(word)
        return number

    def table(self, of_word: Callable[[str], float], dtype: type = np.int64) -> NDArray[Any]:
        """What a function says of each word, by the word's number; it is asked once a word."""
        return self._extended(of_word, of_word, dtype)

    def numbers(self, of_word: Callable[[str], str]) -> Ints:
        """The number of the word that a function makes of each word, by the word's number; NO_WORD for an empty one."""
        return self._extended(of_word, lambda word: self[of_word(word)], np.int64)

    def _extended(self, name: Hashable, figure_of: Callable[[str], float], dtype: type) -> NDArray[Any]:
        known = self._tables.get(name, np.zeros(1, dtype))
        if len(known) < len(self._listed):
            # a copy: words that are made of words are new themselves, and of no text yet
            met_since = self._listed[len(known) :]
            known = self._tables[name] = np.concatenate([known, np.fromiter(map(figure_of, met_since), dtype, len(met_since))])
        return known


_vocabulary = Vocabulary()


def vocabulary() -> Vocabulary:
    """The words met so far, or a new one where they are too many."""
    global _vocabulary
    if _vocabulary.num_characters > Vocabulary.MAX_CHARACTERS:
        _vocabulary = Vocabulary()
    return _vocabulary
