"""A text, split once for all rules."""

import re

WORD = re.compile(r"[\w'*@$]+")
"""Runs of letters, digits and the signs that stand for letters in swear words and contractions."""


DIGIT = re.compile(r"\d")
DIGITS = b"0123456789"
LETTERS_AND_SPACE = b"abcdefghijklmnopqrstuvwxyz \t\n\r\v\f"
KEPT = set(b"_'*@$")
BLANKED = bytes(code if chr(code).isalnum() or code in KEPT else 32 for code in range(128)) + bytes(range(128, 256))


class Words:
    """A text and its words."""

    __slots__ = ("content", "distinct", "lower", "num_digits", "signs", "words")

    def __init__(self, content: str) -> None:
        self.content = content
        ascii_only = content.isascii()
        self.lower = content.lower() if ascii_only else content.lower().replace("’", "'")
        """Lower case, with plain apostrophes."""
        # the same either way; tables are several times as fast as patterns, and know ASCII only
        encoded = self.lower.encode() if ascii_only else b""
        self.words = encoded.translate(BLANKED).decode().split() if ascii_only else WORD.findall(self.lower)
        """In order."""
        self.distinct = set(self.words)
        rest = encoded.translate(None, LETTERS_AND_SPACE) if ascii_only else b""
        self.signs = rest.decode() if ascii_only else content
        """What is left of an ASCII text without letters and white space, any other text whole: what is not in it is not in the text."""
        self.num_digits = len(rest) - len(rest.translate(None, DIGITS)) if ascii_only else len(DIGIT.findall(content))
        """Several rules have nothing to look for in a text without digits."""
