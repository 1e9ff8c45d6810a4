"""Active learning: what is uncertain is chosen, what is alike is not chosen twice, and fewer labels teach the same."""

import gzip
import json
import math

import numpy as np
import pytest

from llmops_preprocess.active_learning import Learner, Point, Strategy, disagreement, diverse, entropy, labels_needed, margin, simulate


def test_scores_are_highest_where_the_model_knows_least():
    sure, torn, lost = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]
    probabilities = np.array([sure, torn, lost])

    assert entropy(probabilities) == pytest.approx([0, math.log(2), math.log(3)])
    assert margin(probabilities) == pytest.approx([0, 1, 1])


def test_a_committee_disagrees_by_the_divergence_from_its_mean():
    of_one_mind = [[0.5, 0.5], [0.5, 0.5]]
    opposed = [[1.0, 0.0], [0.0, 1.0]]

    assert disagreement(np.array([of_one_mind, opposed]).transpose(1, 0, 2)) == pytest.approx([0, math.log(2)])


def test_diverse_choices_leave_out_what_is_alike():
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    assert diverse(np.array([0.9, 0.8, 0.7, 0.6]), vectors, 2) == [0, 2]


@pytest.mark.slow
def test_a_classifier_of_one_class_is_refused():
    with pytest.raises(ValueError, match="needs two classes, the 2 labels name 1"):
        Learner(["one text", "other text", "third text"], 0).learn([0, 1], ["a", "a"])


LANGUAGES = ("af", "az", "bs", "ca", "cs", "cy", "da", "de", "en", "eo", "es", "et", "eu", "fi", "fr", "ga")


@pytest.mark.slow
def test_fewer_labels_teach_the_same_than_random_ones(test_data):
    lines = gzip.decompress((test_data / "langid-lingua" / "sentences.jsonl.gz").read_bytes()).splitlines()
    rows = [row for line in lines if (row := json.loads(line))["lang"] in LANGUAGES]
    texts, labels = [row["text"][:80] for row in rows], [row["lang"] for row in rows]

    strategies: tuple[Strategy, ...] = ("random", "entropy", "margin", "disagreement")
    curves = {
        strategy: mean_curve([simulate(texts, labels, strategy, start=48, step=16, rounds=9, seed=seed) for seed in (0, 1, 2)])
        for strategy in strategies
    }

    chance = curves.pop("random")
    for curve in curves.values():
        needed = labels_needed(curve, 0.91)
        assert needed is not None
        assert needed < (labels_needed(chance, 0.91) or math.inf)
        assert labels_needed(curve, 0.94) is not None
    assert labels_needed(chance, 0.94) is None


def mean_curve(curves):
    """The curves of several seeds as one."""
    return [Point(points[0].num_labels, sum(point.accuracy for point in points) / len(points)) for points in zip(*curves, strict=True)]
