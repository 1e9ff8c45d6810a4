"""Words of a web page as the published quality rules count them: punctuation apart, English contractions in two."""

import functools
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(
    # addresses stay whole; numbers and abbreviations keep their points; what a hyphen joins comes apart, a ruled line does not
    r"https?://\S*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:[A-Za-z]\.){2,}|\w+?(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|"
    r"\w+(?:[.,:]\d+|[._]\w+|/\w+)*|\.{2,}|[-~^|\\/][-=+~^|\\/]+|[^\w\s]"
)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one text."""

    words: list[str]
    """All of them, signs included."""
    lengths: NDArray[np.int64]
    """Their characters."""
    kinds: NDArray[np.int8]
    """What they are made of: `LETTERS`, `SIGNS` or 0."""


LETTERS, SIGNS = 1, 2
MAX_KNOWN = 200_000


@functools.lru_cache(maxsize=1)  # the rule sets look at a text one after another
def words_of(text: str) -> Words:
    """Splits a text."""
    found = WORD.findall(text)
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    return Words(found, lengths, np.fromiter(map(known_words.__getitem__, found), np.int8, len(found)))


class KnownWords(dict[str, int]):
    """The kind of each word that was asked for: texts have few words and have them often."""

    def __missing__(self, word: str) -> int:
        if len(self) > MAX_KNOWN:
            self.clear()
        self[word] = kind = LETTERS if any(map(str.isalpha, word)) else SIGNS if all(map(is_sign, word)) else 0
        return kind


known_words = KnownWords()


def is_sign(character: str) -> bool:
    """Punctuation, a control, or one of ASCII's signs."""
    return unicodedata.category(character)[0] in "PC" or character in "$+<=>^`|~´"


def duplicated(items: list[str]) -> tuple[int, int]:
    """How many items repeat an earlier one, and their characters."""
    seen = set[str]()
    number = characters = 0
    for item in items:
        if item in seen:
            number, characters = number + 1, characters + len(item)
        else:
            seen.add(item)
    return number, characters
