import numpy as np
import pytest

from llmops_shared.rouge import longest_common_subsequence, rouge_l
from llmops_shared.statistics import bootstrap, mean, mean_difference, perplexity


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(7)
    hits = 0
    for seed in range(300):
        estimate = bootstrap(random.normal(3.0, 2.0, 80), mean, num_resamples=400, seed=seed)
        hits += estimate.low <= 3.0 <= estimate.high

    assert 0.90 <= hits / 300 <= 0.99


def test_a_paired_difference_is_narrower_than_its_parts():
    random = np.random.default_rng(1)
    base = random.normal(0, 10, 200)
    pairs = np.stack([base, base + random.normal(0.5, 0.1, 200)], axis=1)

    estimate = bootstrap(pairs, mean_difference)

    assert 0.47 < estimate.low < 0.5 < estimate.high < 0.53


def test_perplexity_weighs_rows_by_their_tokens():
    assert bootstrap([[2.0, 1.0], [2.0, 3.0]], perplexity).value == pytest.approx(np.e)


def test_the_same_rows_give_the_same_interval():
    assert bootstrap([1, 2, 3], mean) == bootstrap([1, 2, 3], mean)


@pytest.mark.parametrize(("rows", "complaint"), [([], "no rows"), ([1.0, float("nan")], "not finite")])
def test_rows_without_an_estimate_are_refused(rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        bootstrap(rows, mean)


def test_longest_common_subsequence_against_the_textbook_table():
    random = np.random.default_rng(3)
    for _ in range(200):
        left, right = (["abcd"[i] for i in random.integers(0, 4, random.integers(0, 90))] for _ in range(2))
        table = np.zeros((len(left) + 1, len(right) + 1), int)
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        assert longest_common_subsequence(left, right) == table[-1, -1]


def test_rouge_l_by_hand():
    assert rouge_l("The cat sat.", "the cat sat down") == pytest.approx(2 * 3 / 7)
    assert rouge_l("", "x") == rouge_l("x", "...") == 0.0
    assert rouge_l("os.path.join", "os path join") == 1.0
