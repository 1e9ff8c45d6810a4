"""What the rules ask of the words of a text, looked up: texts have few different words and have them often.

A stretch between white space is taken apart once a process. Its facts stand in columns, so that those of a text are gathered by
NumPy; no rule looks over white space, so a text is its stretches.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.web_words import STOP_WORDS, WEB_WORD, kind_of

WORD = re.compile(r"\w+")
"""Word of a shingle."""
MAX_KNOWN = 200_000
"""Stretches; then all are forgotten."""
MAX_KEPT = 4_000_000
"""Characters of the texts whose numbers are kept for the next rule."""

NOT_CUT = -1

Numbers = NDArray[np.int64]


class Columns:
    """Arrays of one length that grow together; new rows are in them once they are written, many at a time."""

    def __init__(self, **kinds: type[np.generic]) -> None:
        self.size, self.new = 0, list[tuple[int, ...]]()
        self.arrays: dict[str, NDArray[Any]] = {name: np.empty(1 << 12, dtype=kind) for name, kind in kinds.items()}

    def append(self, *values: int) -> int:
        """Takes a row and returns its number."""
        self.new.append(values)
        return self.size + len(self.new) - 1

    def write(self) -> None:
        """Writes the new rows."""
        if not self.new:
            return
        end = self.size + len(self.new)
        for (name, array), values in zip(self.arrays.items(), zip(*self.new, strict=True), strict=True):
            if end > len(array):
                self.arrays[name] = array = np.concatenate([array, np.empty(max(end, len(array)), dtype=array.dtype)])
            array[self.size : end] = values
        self.size, self.new = end, []

    def extend(self, count: int, *values: int) -> None:
        """Writes a row as often as that."""
        self.new += [values] * count
        self.write()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]


class Cuts:
    """What stretches are cut into for one kind of rule, each when a rule first asks for it."""

    def __init__(self, cut: Callable[[str], list[int]], piece: type[np.generic]) -> None:
        self.cut, self.stretches, self.pieces = cut, Columns(first=np.int64, count=np.int64), Columns(piece=piece)

    def places(self, numbers: Numbers, names: Sequence[str]) -> tuple[Numbers, Numbers]:
        """Where the pieces of stretches are, one after another, and how many each has."""
        if len(names) > self.stretches.size:
            self.stretches.extend(len(names) - self.stretches.size, 0, NOT_CUT)
        count = self.stretches["count"][numbers]
        if len(count) and count.min() == NOT_CUT:
            for number in dict.fromkeys(numbers[count == NOT_CUT].tolist()):
                pieces = self.cut(names[number])
                self.stretches["first"][number], self.stretches["count"][number] = self.pieces.size + len(self.pieces.new), len(pieces)
                self.pieces.new += [(piece,) for piece in pieces]
            self.pieces.write()
            count = self.stretches["count"][numbers]
        return gathered(self.stretches["first"][numbers], count), count

    def __getitem__(self, places: Numbers) -> NDArray[Any]:
        found: NDArray[Any] = self.pieces["piece"][places]
        return found


class KnownWords(dict[str, int]):
    """The number of each stretch that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        """Starts afresh; no number from before is valid."""
        self.clear()
        self.names, self.web_numbers = list[str](), dict[str, int]()
        self.forget_texts()
        self.stretches = Columns(length=np.int64, letters=np.bool_)
        self.web_pieces, self.words = Cuts(self.web_cut, np.int64), Cuts(digests_in, np.uint64)
        self.web_words = Columns(hash=np.int64, length=np.int64, kind=np.int8, stop_word=np.int16)

    def forget_texts(self) -> None:
        """Makes room for other texts."""
        self.kept, self.kept_web, self.kept_characters = dict[str, Numbers](), dict[str, Numbers](), 0

    def __missing__(self, stretch: str) -> int:
        number = self[stretch] = self.stretches.append(len(stretch), any(map(str.isalpha, stretch)))
        self.names.append(stretch)
        return number

    def web_cut(self, stretch: str) -> list[int]:
        """Numbers of the words of the web rules in a stretch."""
        return [self.web_number(word) for word in WEB_WORD.findall(stretch)]

    def web_number(self, word: str) -> int:
        """The number of a word of the web rules, which may be in several stretches."""
        if word not in self.web_numbers:
            self.web_numbers[word] = self.web_words.append(
                hash(word), len(word), kind_of(word), 1 << STOP_WORDS.index(word) if word in STOP_WORDS else 0
            )
        return self.web_numbers[word]

    def numbers(self, text: str) -> Numbers:
        """Of the stretches of a text, valid until the next text is asked for."""
        found = self.kept.get(text)
        if found is None:
            if len(self) > MAX_KNOWN:
                self.forget()
            elif self.kept_characters > MAX_KEPT:
                self.forget_texts()
            found = self.kept[text] = self.looked_up(text)
            self.kept_characters += len(text)
        return found

    def web_words_of(self, text: str) -> Numbers:
        """Numbers of the words of a text as the web rules count them, signs included; valid until the next text is asked for."""
        numbers = self.numbers(text)
        found = self.kept_web.get(text)
        if found is None:
            places, _ = self.web_pieces.places(numbers, self.names)
            self.web_words.write()
            found = self.kept_web[text] = self.web_pieces[places]
        return found

    def looked_up(self, text: str) -> Numbers:
        """The numbers, those of new stretches among them."""
        stretches = text.split()
        found = np.fromiter(map(self.__getitem__, stretches), np.int64, len(stretches))
        self.stretches.write()
        return found

    def says_the_same(self, text: str, other: str) -> None:
        """Tells that two texts differ in nothing but white space between their words."""
        if other in self.kept and text not in self.kept:
            self.kept[text] = self.kept[other]
            self.kept_characters += len(text)

    def numbers_of_all(self, texts: Sequence[str]) -> tuple[Numbers, Numbers]:
        """Of the stretches of texts, one after another, and how many each has."""
        if len(self) > MAX_KNOWN:
            self.forget()
        found = [self.kept[text] if text in self.kept else self.looked_up(text) for text in texts]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found]), np.array([len(item) for item in found], dtype=np.int64)


def gathered(first: Numbers, count: Numbers) -> Numbers:
    """The numbers from each first one on, one after another."""
    if (count == 1).all():
        return first
    ends = np.cumsum(count)
    return np.repeat(first - ends + count, count) + np.arange(ends[-1] if len(ends) else 0)


def digest_of(word: str) -> int:
    """64 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def digests_in(stretch: str) -> list[int]:
    """Digests of the words of a shingle that are in a stretch, in lower case."""
    return [digest_of(word) for word in WORD.findall(stretch.lower())]


def digests_of(texts: Sequence[str]) -> tuple[NDArray[np.uint64], Numbers]:
    """Digests of the words of texts in lower case, one after another, and how many each has."""
    numbers, sizes = known.numbers_of_all(texts)
    places, count = known.words.places(numbers, known.names)
    ends = np.concatenate([[0], np.cumsum(count)])
    stops = np.cumsum(sizes)
    return known.words[places], ends[stops] - ends[stops - sizes]


known = KnownWords()
