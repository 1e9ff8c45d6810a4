"""A text, split once for all rules."""

import re

WORD = re.compile(r"[\w'*@$]+")
"""Runs of letters, digits and the signs that stand for letters in swear words and contractions."""


DIGIT = re.compile(r"\d")
DIGITS = b"0123456789"
KEPT = set(b"_'*@$")
BLANKED = bytes(code if chr(code).isalnum() or code in KEPT else 32 for code in range(128)) + bytes(range(128, 256))


class Words:
    """A text and its words."""

    __slots__ = ("content", "distinct", "has_digit", "lower", "words")

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
        self.has_digit = len(encoded.translate(None, DIGITS)) < len(encoded) if ascii_only else DIGIT.search(content) is not None
        """Several rules have nothing to look for in a text without one."""


class Exchanged:
    """One exchange as the rules see it. Building it is most of the cost of a rule."""

    __slots__ = ("context", "num_prompt_tokens", "num_response_tokens", "prompt", "response")

    def __init__(
        self, prompt: str, response: str, context: str | None = None, num_prompt_tokens: int = 0, num_response_tokens: int = 0
    ) -> None:
        self.prompt = Words(prompt)
        self.response = Words(response)
        self.context = None if context is None else Words(context)
        """The retrieved chunks, best first; None where nothing was retrieved."""
        self.num_prompt_tokens = num_prompt_tokens
        self.num_response_tokens = num_response_tokens
