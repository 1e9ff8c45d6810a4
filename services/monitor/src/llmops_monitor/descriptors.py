"""Figures of one text, none of which needs a model, a word list or the network."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmops_shared.statistics import Floats

WORD = re.compile(r"\w+")
CODE_SIGNS = frozenset("(){}[]<>=+*/\\|&%^~_;:#@$`")


@dataclass(frozen=True)
class Text:
    """A prompt or an answer."""

    content: str
    num_tokens: int
    """As the served model counts them; of a prompt with retrieved context, the context included."""
    signature: str
    """Equal for prompts that differ in white space, case, punctuation or numbers only."""

    @cached_property
    def words(self) -> list[str]:
        """Lower-case runs of letters, digits and underscores."""
        return WORD.findall(self.content.lower())


@dataclass(frozen=True)
class Descriptor:
    """One figure of a text."""

    name: str
    value: Callable[[Text], float]
    meaning: str


def share(count: int, total: int) -> float:
    """A share that is 0 for an empty text."""
    return count / total if total else 0.0


DESCRIPTORS = (
    Descriptor("num_tokens", lambda text: float(text.num_tokens), "tokens of the served model"),
    Descriptor("characters", lambda text: float(len(text.content)), "characters"),
    Descriptor("words", lambda text: float(len(text.words)), "words"),
    Descriptor("lines", lambda text: float(text.content.count("\n") + 1), "lines"),
    Descriptor("mean_word_length", lambda text: share(sum(map(len, text.words)), len(text.words)), "characters a word"),
    Descriptor(
        "non_letter_share",
        lambda text: share(sum(not sign.isalpha() and not sign.isspace() for sign in text.content), len(text.content)),
        "share of signs that are neither letters nor white space",
    ),
    Descriptor(
        "code_sign_share",
        lambda text: share(sum(sign in CODE_SIGNS for sign in text.content), len(text.content)),
        "share of signs such as ( = ;",
    ),
    # Chen et al. 2023 (LLMDrift): a model that begins to fence its programs breaks whoever runs its answers as they are
    Descriptor("code_fences", lambda text: float(text.content.count("```")), "code fences, opening and closing (CommonMark)"),
    Descriptor(
        "distinct_word_share",
        lambda text: share(len(set(text.words)), len(text.words)),
        "share of words that are no repetition within the text",
    ),
)
UNKNOWN_WORDS = Descriptor("unknown_word_share", lambda text: 0.0, "share of words that half of the reference window never uses")


def signature_of(prompt: str) -> str:
    """What is left of a prompt without white space, case, punctuation and the values of numbers."""
    return " ".join(WORD.findall(re.sub(r"\d+", "0", prompt.lower())))


def describe(reference: Sequence[Text], current: Sequence[Text]) -> dict[str, tuple[Floats, Floats]]:
    """The values of every descriptor in the two windows, each an array [num_texts]."""
    values = {
        descriptor.name: (np.array([descriptor.value(text) for text in reference]), np.array([descriptor.value(text) for text in current]))
        for descriptor in DESCRIPTORS
    }
    known = unknown_words(reference, current)
    return values if known is None else {**values, UNKNOWN_WORDS.name: known}


def unknown_words(reference: Sequence[Text], current: Sequence[Text]) -> tuple[Floats, Floats] | None:
    """Share of words outside the vocabulary of one half of the reference; None when a half is empty.

    A window always knows its own words, so the vocabulary comes from texts that are not measured. The halves are drawn by
    the texts' signatures in both windows: a prompt that both windows hold is then measured in both, or in neither.
    """
    vocabulary = {word for text in reference if in_vocabulary_half(text) for word in text.words}
    measured = [[text for text in window if not in_vocabulary_half(text)] for window in (reference, current)]
    if not vocabulary or not all(measured):
        return None
    shares = [
        np.array([share(sum(word not in vocabulary for word in text.words), len(text.words)) for text in window]) for window in measured
    ]
    return shares[0], shares[1]


def in_vocabulary_half(text: Text) -> bool:
    """A fair draw that is the same for the same prompt."""
    # not the hash that halves windows by request id: a window that is such a half would have all its texts on one side
    return bool(hashlib.sha256(b"vocabulary" + text.signature.encode()).digest()[0] & 1)
