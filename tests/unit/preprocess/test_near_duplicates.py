"""Near duplicates: planted ones are found, look-alikes are not lost."""

import random
from itertools import combinations, permutations

import numpy as np
import pytest

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.near_duplicates import band_rows, near_duplicates, shingle

SETTINGS = NearDuplicates(threshold=0.8)


def jaccard(one, other, width):
    """By the definition, without a hash in it."""
    sets = [
        {tuple(words[start : start + width]) for start in range(max(1, len(words) - width + 1))}
        for words in (one.lower().split(), other.lower().split())
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def changed(text, generator, share):
    """The text with a share of its words replaced."""
    words = text.split()
    for position in generator.sample(range(len(words)), max(1, int(share * len(words)))):
        words[position] = f"other{generator.randrange(10**6)}"
    return " ".join(words)


def words_of(paragraphs):
    """The paragraphs with nothing but words, for which splitting at spaces is what the stage does, and no word in two of them."""
    return [" ".join(f"{word}{number}" for word in text.split() if word.isalnum()) for number, text in enumerate(paragraphs)]


def test_the_longest_of_a_cluster_is_kept():
    short, long = "the cat sat on the mat in the sun all day", "the cat sat on the mat in the sun all day long"

    assert near_duplicates([short, "something else is written here about dogs", long], SETTINGS) == {0}
    assert near_duplicates([long, "something else is written here about dogs", short], SETTINGS) == {2}


@pytest.mark.parametrize("seed", range(3))
def test_verdicts_are_those_of_the_exact_jaccard_index(paragraphs, seed):
    generator = random.Random(seed)
    originals = words_of(paragraphs)
    # of each original five versions, one after another
    texts = [version for text in originals for version in (text, *(changed(text, generator, share) for share in (0.01, 0.03, 0.06, 0.1)))]

    dropped = near_duplicates(texts, SETTINGS)

    missed, lost = [], []
    for start in range(0, len(texts), 5):
        kept = [position for position in range(start, start + 5) if position not in dropped]
        alike = {(one, other) for one, other in permutations(range(start, start + 5), 2) if jaccard(texts[one], texts[other], 3) >= 0.8}
        missed += [pair for pair in combinations(kept, 2) if pair in alike]
        lost += [one for one in range(start, start + 5) if one in dropped and not any((one, other) in alike for other in kept)]
    assert len(dropped) > 100
    assert lost == []
    assert len(missed) <= 0.01 * len(dropped)


def test_a_chain_of_neighbours_loses_no_text_that_is_like_none_kept():
    words = [f"w{number}" for number in range(60)]
    chain = [" ".join(words[start : start + 40]) for start in (0, 3, 6, 9, 12)]

    dropped = near_duplicates(chain, SETTINGS)

    kept = [position for position in range(5) if position not in dropped]
    assert all(any(jaccard(chain[one], chain[other], 3) >= 0.8 for other in kept) for one in dropped)
    assert len(kept) > 1  # the ends of the chain are not alike


def test_the_order_of_equal_texts_and_the_rest_of_the_corpus_change_nothing(paragraphs):
    texts = [*paragraphs[:50], paragraphs[7], "a", "a", ""]

    assert near_duplicates(texts, SETTINGS) == {50, 52}
    assert near_duplicates([], SETTINGS) == set()
    assert near_duplicates(["one"], SETTINGS) == set()


def test_the_stage_can_be_turned_off(tmp_path, paragraphs, write_lines, preprocess):
    texts = [text for paragraph in paragraphs[:60] for text in (paragraph, f"{paragraph} more")]
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in texts])

    dropped = [
        preprocess(str(tmp_path), out=str(tmp_path / name), near_duplicates={"threshold": threshold}).counts[-2].dropped
        for name, threshold in (("on", 0.5), ("off", None))
    ]

    assert dropped[0]["near_duplicate"] > 50
    assert dropped[1] == {}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_bands_let_a_pair_at_the_threshold_through(threshold):
    rows = band_rows(threshold, 128)

    assert rows >= 2
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.995


def test_shingles_never_cross_from_one_text_into_the_next():
    shingles, starts = shingle(["a b c d", "e f", "a b c"], 3)

    assert starts.tolist() == [0, 2, 3, 4]
    assert shingles[0] == shingles[3]
    assert len(np.unique(shingles)) == 3
