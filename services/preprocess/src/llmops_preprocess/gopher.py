"""Gopher's rules for web pages (Rae et al. 2021, "Scaling Language Models", appendix A): repetition and quality."""

import re

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.known_words import Numbers, known
from llmops_preprocess.row_rules_config import GopherQuality, GopherRepetition
from llmops_preprocess.web_words import LETTERS, SIGNS, duplicated

PARAGRAPHS, LINES = re.compile(r"\n{2,}"), re.compile(r"\n+")
MULTIPLIER = np.int64(-0x61C8864680B583EB)  # 2**64 / golden ratio, as a signed number


def broken_repetition_rule(text: str, config: GopherRepetition) -> str | None:
    """The first repetition rule a text breaks."""
    if not text:
        return "empty"
    return repeated_lines(text, config) or repeated_runs(text, config)


def repeated_lines(text: str, config: GopherRepetition) -> str | None:
    """The first rule that its lines and paragraphs break."""
    lines = [line for line in text.split("\n") if line]
    if len(set(lines)) == len(lines) and "\n" not in (text[0], text[-1]):
        return None  # then no paragraph is there twice either
    for name, items, share, character_share in (
        ("paragraph", PARAGRAPHS.split(text.strip()), config.max_duplicate_paragraphs, config.max_duplicate_paragraph_characters),
        ("line", LINES.split(text), config.max_duplicate_lines, config.max_duplicate_line_characters),
    ):
        number, characters = duplicated(items)
        if number / len(items) > share:
            return f"max_duplicate_{name}s"
        if characters / len(text) > character_share:
            return f"max_duplicate_{name}_characters"
    return None


def repeated_runs(text: str, config: GopherRepetition) -> str | None:
    """The first rule that its runs of words break."""
    words = known.web_words_of(text)
    hashes, counts = known.web_words["hash"][words], how_often(words)
    ends = np.zeros(len(words) + 1, dtype=np.int64)
    known.web_words["length"][words].cumsum(out=ends[1:])
    runs, fewest = hashes, counts
    for size in range(2, 11):
        runs, fewest = runs[:-1] * MULTIPLIER + hashes[size - 1 :], np.minimum(fewest[:-1], counts[size - 1 :])
        if len(runs) == 0:
            return None
        if size < 5:
            limit = config.max_top_ngram[size - 2] * len(text)
            # no run is there more often than the rarest of its words
            most = int((fewest * (ends[size:] - ends[:-size] + size - 1)).max())
            if most > limit and top_characters(runs, ends, size) > limit:
                return "max_top_ngram"
            continue
        if size == 5:
            places = np.flatnonzero(fewest > 1)
        # a run can be repeated only where the shorter one at its start is
        places, repeats = repeated_places(runs, places[places < len(runs)])
        if len(repeats) == 0:
            return None
        covered, limits = covered_characters(repeats, ends, size), [share * len(text) for share in config.max_duplicate_ngrams[size - 5 :]]
        if covered > limits[0] and repeated_characters(runs, ends, size) > limits[0]:
            return "max_duplicate_ngrams"
        if covered <= min(limits):
            return None  # longer runs are repeated only within these
    return None


def how_often(words: Numbers) -> Numbers:
    """Of each word how often it is there."""
    places = np.empty(len(known.web_words["hash"]), dtype=np.int64)
    places[words] = np.arange(len(words))
    last = places[words]  # where each word is for the last time: one number for all its places
    found: Numbers = np.bincount(last, minlength=len(words))[last]
    return found


def top_characters(runs: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> int:
    """Characters of all places of the most frequent run, spaces included; of equally frequent ones the first in the text."""
    order = np.argsort(runs, kind="stable")
    ranked = runs[order]
    edges = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1], [True]]))
    counts = np.diff(edges)
    most = int(counts.max())
    first = int(order[edges[:-1][counts == most]].min())
    return most * int(ends[first + size] - ends[first] + size - 1)


def repeated_places(runs: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of these places those whose run occurs more than once, in order of the text, and those of them that are not the first."""
    order = places[np.argsort(runs[places], kind="stable")]
    same = runs[order[1:]] == runs[order[:-1]]
    more = np.zeros(len(order), dtype=bool)
    more[1:] = same
    more[:-1] |= same
    return np.sort(order[more]), order[1:][same]


def covered_characters(repeats: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> int:
    """Characters of all words in runs that repeat an earlier one."""
    first = np.sort(repeats)
    last = first + size
    np.minimum(last[:-1], first[1:], out=last[:-1])
    return int((ends[last] - ends[first]).sum())


def repeated_characters(runs: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> int:
    """Characters in runs that repeat an earlier one, as they come: none counted twice."""
    seen = set[int]()
    values = runs.tolist()
    characters = place = 0
    while place < len(values):
        if values[place] in seen:
            characters += int(ends[place + size] - ends[place])
            place += size
        else:
            seen.add(values[place])
            place += 1
    return characters


def broken_quality_rule(text: str, config: GopherQuality) -> str | None:
    """The first quality rule a text breaks."""
    words = known.web_words_of(text)
    num_words = len(words)
    kinds = known.web_words["kind"][words]
    plain = kinds != SIGNS
    num_plain = int(np.count_nonzero(plain))
    if num_plain < config.min_words or num_plain == 0:
        return "min_words"
    if num_plain > config.max_words:
        return "max_words"
    mean_length = int(known.web_words["length"][words][plain].sum()) / num_plain
    if mean_length < config.min_mean_word_length:
        return "min_mean_word_length"
    if mean_length > config.max_mean_word_length:
        return "max_mean_word_length"
    if max(text.count("#"), text.count("...") + text.count("…")) / num_words > config.max_symbol_ratio:
        return "max_symbol_ratio"
    lines = text.splitlines()
    if sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) > config.max_bullet_lines:
        return "max_bullet_lines"
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > config.max_ellipsis_lines:
        return "max_ellipsis_lines"
    if int(np.count_nonzero(kinds == LETTERS)) / num_words < config.min_alphabetic_words:
        return "min_alphabetic_words"
    stop_words = int(np.bitwise_or.reduce(known.web_words["stop_word"][words]))
    return "min_stop_words" if stop_words.bit_count() < config.min_stop_words else None
