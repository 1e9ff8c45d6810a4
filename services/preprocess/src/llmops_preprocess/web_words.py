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


def words_of(text: str) -> Words:
    """Splits a text."""
    found = WORD.findall(text)
    return Words(found, np.fromiter(map(len, found), np.int64, len(found)))


@functools.lru_cache(maxsize=4096)
def is_sign(character: str) -> bool:
    """Punctuation, a control, or one of ASCII's signs."""
    return unicodedata.category(character)[0] in "PC" or character in "$+<=>^`|~´"


def is_symbol(word: str) -> bool:
    """Whether there is nothing but signs in a word."""
    return is_sign(word[0]) and all(map(is_sign, word))


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
