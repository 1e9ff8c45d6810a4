"""In a file of its own: scikit-learn takes seconds to import."""

import random

import numpy as np
import pytest

from llmops_monitor.classifier import Separation, separate
from llmops_monitor.descriptors import Text
from llmops_monitor.windows import to_text
from llmops_shared.rows import ChatRow
from support.traffic import code_questions, exchange, good, questions

TEXTS = [to_text(exchange(row, 1, good), "prompt") for row in questions()]


def texts_of(rows: tuple[ChatRow, ...] | list[ChatRow]) -> list[Text]:
    return [to_text(exchange(row, 1, good), "prompt") for row in rows]


def told_apart(reference: list[Text], current: list[Text], seed: int = 0, num_permutations: int = 2000) -> Separation:
    return separate(reference, current, num_permutations, 0.95, seed)


def test_windows_of_different_words_are_told_apart() -> None:
    drawn = random.Random(1).sample(TEXTS, 150)

    found = told_apart(drawn[:100], drawn[100:125] + texts_of(code_questions()[:75]))

    assert found.auc.value > 0.8 and found.auc.low > 0.7
    assert found.p_value == pytest.approx(1 / 2001)
    assert all(index >= 25 for index in found.most_current[:20])  # those with code are the least like the reference


@pytest.mark.slow
def test_a_relabelling_is_as_good_as_the_truth_where_there_is_no_drift() -> None:
    draw = random.Random(2)

    p_values = []
    for seed in range(25):
        drawn = draw.sample(TEXTS, 120)
        p_values.append(told_apart(drawn[:60], drawn[60:], seed, 500).p_value)

    assert np.mean(np.array(p_values) < 0.1) < 0.3  # 2.5 of 25 expected; 8 or more come in 3 of 1000 such sets
    assert 0.3 < np.mean(p_values) < 0.7


@pytest.mark.parametrize("content", ["the same words", "", "?!"])
def test_texts_that_are_all_equal_are_not_told_apart(content: str) -> None:
    window = [Text(content, 3, f"prompt {number}") for number in range(120)]

    found = told_apart(window[:60], window[60:])

    assert found.auc.value == 0.5 and found.p_value > 0.2


def test_twins_in_both_windows_are_not_told_apart() -> None:
    found = told_apart(TEXTS[:83], TEXTS[:83])

    assert found.auc.value == pytest.approx(0.5) and found.p_value > 0.2


def test_the_same_seed_gives_the_same_figures() -> None:
    assert told_apart(TEXTS[:60], TEXTS[60:120], 3) == told_apart(TEXTS[:60], TEXTS[60:120], 3)
