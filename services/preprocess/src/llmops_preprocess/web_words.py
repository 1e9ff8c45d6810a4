"""Words of a web page as the published quality rules count them: punctuation apart, English contractions in two."""

import re
import unicodedata

PLAIN = r"[^\W_]+(?:_+[^\W_]+)*"
WEB_WORD = re.compile(
    # addresses stay whole; numbers and abbreviations keep their points; what a hyphen joins comes apart, a ruled line does not
    r"https?://\S*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:[A-Za-z]\.){2,}|\w+?(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|"
    # underscores around a word are signs; a bracket or an operator within code, as in a call, divides nothing
    rf"{PLAIN}(?:[.,:]\d+|[._]_*{PLAIN}|/_*{PLAIN}|_*[(\[][\"'(\[]*_*{PLAIN}|(?:->|[=!]=)_*{PLAIN})*|"
    r"\.{2,}|[-~^|\\/][-=+~^|\\/]+|[^\w\s]|_"
)
LETTERS, SIGNS = 1, 2
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Those of Gopher's rules."""


def kind_of(word: str) -> int:
    """What a word is made of: `LETTERS` when it has any, `SIGNS` when it is nothing else, or 0."""
    return LETTERS if any(map(str.isalpha, word)) else SIGNS if all(map(is_sign, word)) else 0


def is_sign(character: str) -> bool:
    """Punctuation, a control, or one of ASCII's signs."""
    return unicodedata.category(character)[0] in "PC" or character in "$+<=>^`|~´"


def duplicated(items: list[str]) -> tuple[int, int]:
    """How many items repeat an earlier one, and their characters."""
    if len(set(items)) == len(items):
        return 0, 0
    seen = set[str]()
    number = characters = 0
    for item in items:
        if item in seen:
            number, characters = number + 1, characters + len(item)
        else:
            seen.add(item)
    return number, characters
