"""A column of texts, read once for all rules."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_monitor.rules.vocabulary import NEXT, NO_WORD, Ints, Vocabulary, vocabulary
from llmops_shared.statistics import Floats
from llmops_shared.words import BLANKED, WORD, Words

Bools = NDArray[np.bool_]

LOWERED = bytes(BLANKED[code + 32] if 65 <= code <= 90 else BLANKED[code] for code in range(256))
"""ASCII in lower case, with spaces for the signs that are no part of a word."""
END = b"\xff"
"""Stands behind each text among the bytes of many; UTF-8 has no such byte."""


class Text:
    """One text, for rules that look at few."""

    __slots__ = ("_distinct", "_lower", "_words", "content")

    def __init__(self, content: str, words: list[str] | None = None) -> None:
        self.content = content
        self._words = words
        self._lower: str | None = None
        self._distinct: set[str] | None = None

    @property
    def lower(self) -> str:
        """Lower case, with plain apostrophes."""
        if self._lower is None:
            self._lower = lowered(self.content)
        return self._lower

    @property
    def words(self) -> list[str]:
        """In order."""
        if self._words is None:
            self._words = Words(self.content).words
        return self._words

    @property
    def distinct(self) -> set[str]:
        """Each word once."""
        if self._distinct is None:
            self._distinct = set(self.words)
        return self._distinct


def lowered(content: str) -> str:
    """Lower case, with plain apostrophes."""
    return content.lower() if content.isascii() else content.lower().replace("’", "'")


class Texts:
    """Texts, one at least and 65,536 at most.

    Their words are one array of numbers and their signs another, so that a rule looks at all texts at once.
    """

    def __init__(self, contents: Sequence[str], known: Vocabulary | None = None) -> None:
        self.contents = contents
        self.vocabulary = vocabulary() if known is None else known
        """Columns that are held against each other need the same one."""
        self.beyond_ascii = [place for place, content in enumerate(contents) if not content.isascii()]
        """Places of the texts that tables of ASCII do not do for."""
        # a log may have half a surrogate pair
        self._encoded = [content.encode("utf-8", "surrogatepass") for content in contents]
        self._seen: dict[int, Text] = {}

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, place: int) -> Text:
        """One of the texts, for a closer look."""
        text = self._seen.get(place)
        if text is None:
            first, end = self._bounds[place : place + 2]
            text = self._seen[place] = Text(self.contents[place], self.words[first + 1 : end])
        return text

    @cached_property
    def _bounds(self) -> list[int]:
        return [*self.starts.tolist(), len(self.words)]

    @cached_property
    def words(self) -> list[str]:
        """The words of all texts in order, NEXT before each text; those of a text are the ones `Words` finds."""
        parts = self._encoded.copy()
        for place in self.beyond_ascii:
            parts[place] = " ".join(WORD.findall(lowered(self.contents[place]))).encode()
        before = f" {NEXT} ".encode()
        return (before + before.join(parts)).translate(LOWERED).decode().split()

    @cached_property
    def numbers(self) -> Ints:
        """The words as numbers, NO_WORD before each text."""
        return np.fromiter(map(self.vocabulary.__getitem__, self.words), np.int64, len(self.words))

    @cached_property
    def starts(self) -> Ints:
        """Where in `numbers` each text's NO_WORD is [num_texts]."""
        return np.flatnonzero(self.numbers == NO_WORD)

    @cached_property
    def num_words(self) -> Ints:
        """How many words each text has [num_texts]."""
        return np.diff(self.starts, append=len(self.numbers)) - 1

    @cached_property
    def owners(self) -> Ints:
        """The place of the text that each of `numbers` belongs to."""
        return np.repeat(np.arange(len(self)), self.num_words + 1)

    def of_words(self, of_word: Callable[[str], float], dtype: type = np.int64) -> NDArray[Any]:
        """What a function says of each of `numbers`, 0 for NO_WORD."""
        numbers = self.numbers  # first, for they may be new to the vocabulary
        return self.vocabulary.table(of_word, dtype)[numbers]

    def made_of_words(self, of_word: Callable[[str], str]) -> Ints:
        """The number of what a function makes of each of `numbers`, NO_WORD for NO_WORD and for an empty string."""
        numbers = self.numbers
        return self.vocabulary.numbers(of_word)[numbers]

    def has_word(self, is_wanted: Callable[[str], bool]) -> Bools:
        """Which texts have such a word [num_texts]."""
        found: Bools = np.logical_or.reduceat(self.of_words(is_wanted, np.bool_), self.starts)
        return found

    def look_at(self, are_wanted: Bools, rule: Callable[[Text], float]) -> Floats:
        """What a rule says of the texts that are worth a look, 0 for all others [num_texts]."""
        figures = np.zeros(len(self))
        for place in np.flatnonzero(are_wanted).tolist():
            figures[place] = rule(self[place])
        return figures

    @cached_property
    def _joined(self) -> bytes:
        return END.join([*self._encoded, b""])

    @cached_property
    def signs(self) -> NDArray[np.uint8]:
        """The UTF-8 of all texts, END behind each."""
        return np.frombuffer(self._joined, np.uint8)

    @cached_property
    def sign_starts(self) -> Ints:
        """Where in `signs` each text begins [num_texts]."""
        ends = np.flatnonzero(self.signs == END[0])
        return np.concatenate([[0], ends[:-1] + 1])

    @cached_property
    def num_digits(self) -> Ints:
        """How many digits from 0 to 9 each text has [num_texts]."""
        return self.count_at(np.flatnonzero(self.signs - np.uint8(ord("0")) < 10))  # the signs below wrap around

    def find_signs(self, listed: bytes) -> Ints:
        """Places in `signs` that are one of a few, sign by sign; comparisons are faster than a table."""
        return np.concatenate([np.flatnonzero(self.signs == code) for code in listed])

    def count_at(self, at: Ints) -> Ints:
        """How many of these places in `signs` each text has [num_texts]."""
        return np.bincount(np.searchsorted(self.sign_starts, at, "right") - 1, minlength=len(self))

    def has(self, literal: str) -> Bools:
        """Which texts have a piece of ASCII that few have [num_texts]."""
        found, wanted = np.zeros(len(self), np.bool_), literal.encode()
        place = self._joined.find(wanted)
        while place >= 0:
            text = int(np.searchsorted(self.sign_starts, place, "right"))
            found[text - 1] = True
            place = self._joined.find(wanted, self.sign_starts[text]) if text < len(self) else -1
        return found


def each_once(numbers: Ints) -> Ints:
    """The numbers in order, each once: for a few thousand of them many times as fast as numpy.unique."""
    ordered = np.sort(numbers)
    found: Ints = ordered[np.diff(ordered, prepend=-1) != 0]
    return found
