"""How hard a text is to read."""

import re

import numpy as np

from llmops_monitor.rules.texts import END, Texts
from llmops_monitor.rules.vocabulary import Ints
from llmops_shared.statistics import Floats

SENTENCE_END = re.compile(r"[.!?…。！？](?=[\s\"')\]]|$)")
CLOSING = np.array([code in b" \t\n\r\v\f\"')]" + END for code in range(256)])
"""What follows a SENTENCE_END in ASCII, by its code."""
VOWELS = re.compile(r"[aeiouyà-æè-ïò-öø-ýāēīōū]+")
SILENT_ENDING = re.compile(r"(?:[^laeiouy]es|[^aeioudt]ed|[^laeiouy]e)$")


def num_syllables(word: str) -> int:
    """Groups of vowels, less a silent ending."""
    count = len(VOWELS.findall(word))
    if count > 1 and SILENT_ENDING.search(word):
        count -= 1
    return max(1, count)


def reading_grade(texts: Texts) -> Floats:
    """School years a reader of English needs (Flesch-Kincaid, Kincaid et al. 1975); 0 for a text without a word."""
    words, sentences = texts.num_words, np.maximum(1, num_sentence_ends(texts))
    syllables = np.add.reduceat(texts.of_words(num_syllables), texts.starts)
    grades: Floats = np.where(words > 0, 0.39 * words / sentences + 11.8 * syllables / np.maximum(1, words) - 15.59, 0.0)
    return grades


def num_sentence_ends(texts: Texts) -> Ints:
    """Full stops, question and exclamation marks before white space, a closing sign, or the end."""
    marks = texts.find_signs(b".!?")
    counts = texts.count_at(marks[CLOSING[texts.signs[marks + 1]]])
    for place in texts.beyond_ascii:
        counts[place] = len(SENTENCE_END.findall(texts.contents[place]))
    return counts
