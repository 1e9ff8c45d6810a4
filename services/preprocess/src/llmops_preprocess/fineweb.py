"""FineWeb's rules (Penedo et al. 2024, "The FineWeb Datasets", section 3.6)."""

import regex

from llmops_preprocess.known_words import known
from llmops_preprocess.row_rules_config import FineWeb
from llmops_preprocess.web_words import duplicated

ENDS_SENTENCE = regex.compile(r"\p{Sentence_Terminal}\Z")


def broken_fineweb_rule(text: str, config: FineWeb) -> str | None:
    """The first rule a text breaks."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return "empty"
    punctuated = sum(line[-1] in ".?!" or (not line[-1].isascii() and ENDS_SENTENCE.search(line[-1]) is not None) for line in lines)
    if punctuated / len(lines) < config.min_punctuated_lines:
        return "min_punctuated_lines"
    if sum(len(line) <= config.short_line_characters for line in lines) / len(lines) > config.max_short_lines:
        return "max_short_lines"
    line_ends = text.count("\n")
    if duplicated(lines)[1] / (len(text) - line_ends) > config.max_duplicate_line_characters:
        return "max_duplicate_line_characters"
    num_words = len(known.web_words_of(text))
    return "max_line_ends_per_word" if line_ends / num_words > config.max_line_ends_per_word else None
