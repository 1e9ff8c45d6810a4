"""Quality rules; names and sources are those of the settings."""

from collections.abc import Sequence

import numpy as np

from llmops_preprocess.config import Quality
from llmops_preprocess.known_words import known
from llmops_preprocess.record import Record, Stage, keep


def filter_quality(records: Sequence[Record], config: Quality) -> Stage:
    """Drops what breaks a rule, with the first rule it breaks as the reason."""
    return keep("quality", records, lambda record: broken_rule(record.text, config))


def broken_rule(text: str, config: Quality) -> str | None:
    """The first rule a text breaks, in the order of the settings."""
    words = known.numbers(text)
    if len(words) < config.min_words:
        return "min_words"
    if len(words) > config.max_words:
        return "max_words"
    mean_length = int(known.stretches["length"][words].sum()) / len(words)
    if mean_length < config.min_mean_word_length:
        return "min_mean_word_length"
    if mean_length > config.max_mean_word_length:
        return "max_mean_word_length"
    symbols = text.count("#") + text.count("...") + text.count("…")
    if symbols / len(words) > config.max_symbol_ratio:
        return "max_symbol_ratio"
    if int(np.count_nonzero(known.stretches["letters"][words])) / len(words) < config.min_alphabetic_words:
        return "min_alphabetic_words"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if 1 - len(set(lines)) / len(lines) > config.max_duplicate_lines:
        return "max_duplicate_lines"
    lower = text.lower()
    return "forbidden_phrases" if any(phrase.lower() in lower for phrase in config.forbidden_phrases) else None
