"""Settings of the rules that look at one document at a time: repair, web-page quality, personal data, decontamination."""

from typing import Literal

from pydantic import Field

from llmops_shared.config import Config
from llmops_shared.pii import KINDS, PiiKind


class GopherRepetition(Config):
    """Repetition rules of Gopher (Rae et al. 2021, table A1); a text that reaches above one is dropped."""

    max_duplicate_paragraphs: float = Field(default=0.3, ge=0, le=1)
    """Share of paragraphs that repeat an earlier one."""
    max_duplicate_paragraph_characters: float = Field(default=0.2, ge=0, le=1)
    """Share of the characters that are in such paragraphs."""
    max_duplicate_lines: float = Field(default=0.3, ge=0, le=1)
    """Share of lines that repeat an earlier one."""
    max_duplicate_line_characters: float = Field(default=0.2, ge=0, le=1)
    """Share of the characters that are in such lines."""
    max_top_ngram: tuple[float, float, float] = Field(default=(0.2, 0.18, 0.16))
    """Share of the characters in the most frequent run of 2, 3 and 4 words."""
    max_duplicate_ngrams: tuple[float, float, float, float, float, float] = Field(default=(0.15, 0.14, 0.13, 0.12, 0.11, 0.10))
    """Share of the characters in repeated runs of 5, 6, 7, 8, 9 and 10 words."""


class GopherQuality(Config):
    """Quality rules of Gopher (Rae et al. 2021, section A1.1) with the thresholds published there, for web pages."""

    min_words: int = Field(default=50, ge=0)
    """Fewer words are dropped; signs are no words."""
    max_words: int = Field(default=100_000, ge=1)
    """More words are dropped."""
    min_mean_word_length: float = Field(default=3.0, ge=0)
    """A lower mean is dropped."""
    max_mean_word_length: float = Field(default=10.0, ge=0)
    """A higher mean is dropped."""
    max_symbol_ratio: float = Field(default=0.1, ge=0)
    """More `#`, or more ellipses, per word are dropped."""
    max_bullet_lines: float = Field(default=0.9, ge=0, le=1)
    """A higher share of lines that open with a bullet is dropped."""
    max_ellipsis_lines: float = Field(default=0.3, ge=0, le=1)
    """A higher share of lines that end with an ellipsis is dropped."""
    min_alphabetic_words: float = Field(default=0.8, ge=0, le=1)
    """A lower share of words with a letter is dropped."""
    min_stop_words: int = Field(default=2, ge=0)
    """Fewer different ones of `the, be, to, of, and, that, have, with` are dropped; 0 for other languages than English."""


class C4(Config):
    """Rules of C4 (Raffel et al. 2020, section 2.2): lines are removed from a page, and pages with too little left are dropped."""

    min_sentences: int = Field(default=5, ge=0)
    """Pages with fewer sentences left are dropped."""
    min_words_per_line: int = Field(default=3, ge=0)
    """Lines with fewer words go."""
    max_word_length: int = Field(default=1000, ge=1)
    """Lines with a longer word go."""
    terminal_punctuation: bool = Field(default=True)
    """Lines that do not end a sentence go."""


class FineWeb(Config):
    """Rules that FineWeb added to Gopher's and C4's (Penedo et al. 2024, section 3.6)."""

    min_punctuated_lines: float = Field(default=0.12, ge=0, le=1)
    """A lower share of lines that end a sentence is dropped."""
    max_short_lines: float = Field(default=0.67, ge=0, le=1)
    """A higher share of lines of at most `short_line_characters` is dropped."""
    short_line_characters: int = Field(default=30, ge=0)
    """Characters of a short line."""
    max_duplicate_line_characters: float = Field(default=0.01, ge=0, le=1)
    """A higher share of characters in repeated lines is dropped."""
    max_line_ends_per_word: float = Field(default=0.3, ge=0)
    """More line ends per word are dropped: a list."""


class WebQuality(Config):
    """Published rule sets for web pages. Each is off until it is given, `{}` for the thresholds of its paper."""

    gopher_repetition: GopherRepetition | None = Field(default=None)
    """Gopher's repetition rules."""
    gopher_quality: GopherQuality | None = Field(default=None)
    """Gopher's quality rules."""
    c4: C4 | None = Field(default=None)
    """C4's rules."""
    fineweb: FineWeb | None = Field(default=None)
    """FineWeb's rules."""


class Pii(Config):
    """Personal data and keys that rules can tell, with a checksum where the kind has one."""

    action: Literal["keep", "mask", "drop"] = Field(default="keep")
    """`mask` writes the kind in its place, such as `[EMAIL]`; `drop` drops the document as `pii`; `keep` does not look."""
    kinds: tuple[PiiKind, ...] = Field(default=KINDS, min_length=1)
    """Kinds to look for, in Amazon Comprehend's names."""


class Decontamination(Config):
    """Drops documents that share runs of words with evaluation sets (Brown et al. 2020, appendix C)."""

    uris: tuple[str, ...] = Field(default=())
    """Evaluation sets: JSON lines (`.jsonl`, `.jsonl.gz`) whose every text is compared, or plain text; none: the stage is off."""
    ngram_words: int = Field(default=13, ge=5)
    """Words of a run; evaluation texts with fewer are compared whole, from 5 words."""
    max_matches: int = Field(default=0, ge=0)
    """Documents with more runs of an evaluation set are dropped as `contaminated`."""
