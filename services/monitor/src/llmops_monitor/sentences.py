"""Texts cut into sentences, for models that judge one at a time."""

import re

SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
MOST = 100
"""Sentences of an answer that are judged."""


def sentences(text: str, most: int | None = MOST) -> list[str]:
    """The sentences of a text, the first `most`."""
    return [sentence for sentence in SENTENCE.split(text) if re.search(r"\w", sentence)][:most]
