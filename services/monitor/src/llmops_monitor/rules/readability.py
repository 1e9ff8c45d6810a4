"""How hard a text is to read."""

import re

from llmops_monitor.rules.words import Words

SENTENCE_END = re.compile(r"[.!?…。！？](?=[\s\"')\]]|$)")
CLOSING = b" \t\n\r\v\f\"')]"
MARKS = bytes(ord(".") if code in b".!?" else ord(" ") if code in CLOSING else ord("x") for code in range(128)) + b"x" * 128
"""The signs of SENTENCE_END as two: an ASCII text is counted by table, several times as fast."""
VOWELS = re.compile(r"[aeiouyà-æè-ïò-öø-ýāēīōū]+")
SILENT_ENDING = re.compile(r"(?:[^laeiouy]es|[^aeioudt]ed|[^laeiouy]e)$")


class Syllables(dict[str, int]):
    """Syllables of a word, counted once: groups of vowels, less a silent ending."""

    MAX_WORDS = 200_000
    """A log of random strings must not fill the memory."""

    def __missing__(self, word: str) -> int:
        count = len(VOWELS.findall(word))
        if count > 1 and SILENT_ENDING.search(word):
            count -= 1
        count = max(1, count)
        if len(self) < self.MAX_WORDS:
            self[word] = count
        return count


SYLLABLES = Syllables()


def reading_grade(text: Words) -> float:
    """School years a reader of English needs (Flesch-Kincaid, Kincaid et al. 1975); 0 for a text without a word."""
    num_words = len(text.words)
    if not num_words:
        return 0.0
    num_sentences = num_sentence_ends(text.content) or 1
    num_syllables = sum(map(SYLLABLES.__getitem__, text.words))
    return 0.39 * num_words / num_sentences + 11.8 * num_syllables / num_words - 15.59


def num_sentence_ends(content: str) -> int:
    """Full stops, question and exclamation marks before white space, a closing sign, or the end."""
    if not content.isascii():
        return len(SENTENCE_END.findall(content))
    marks = content.encode().translate(MARKS)
    return marks.count(b". ") + marks.endswith(b".")
