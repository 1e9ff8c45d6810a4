"""ROUGE-L: the F1 of the longest common subsequence of words (Lin 2004, https://aclanthology.org/W04-1013)."""

import re

WORD = re.compile(r"[a-z0-9]+")


def rouge_l(candidate: str, reference: str) -> float:
    """F1 in [0, 1] of the longest common subsequence of lower-case words; 0.0 when either has no word.

    Words are runs of letters and digits, as in Google's `rouge-score` without stemming, and so are the values.
    """
    found, wanted = WORD.findall(candidate.lower()), WORD.findall(reference.lower())
    if not found or not wanted:
        return 0.0
    common = longest_common_subsequence(found, wanted)
    return 2 * common / (len(found) + len(wanted))


def longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, a bit for each word of `left` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    everything = (1 << len(left)) - 1
    row = everything
    for word in right:
        matches = places.get(word, 0)
        row = ((row + (row & matches)) | (row & ~matches)) & everything
    return len(left) - row.bit_count()
