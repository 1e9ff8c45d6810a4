import random
from collections.abc import Sequence

import numpy as np
import pytest

from llmops_monitor.config import CompareConfig
from llmops_monitor.metrics import METRICS, Comparison, compare_pairs, share_difference_interval, share_interval
from llmops_monitor.pairs import Pair
from llmops_monitor.verdict import decide
from llmops_shared.contracts.report import Verdict
from support.traffic import exchange, good, poor, questions

BY_NAME = {metric.name: metric for metric in METRICS}
NUM_RUNS = 200


def settings(**changes: object) -> CompareConfig:
    return CompareConfig.model_validate({"out": "out", "endpoint": "endpoint", "dataset": "dataset", **changes})


def measured(pairs: Sequence[Pair], config: CompareConfig, *names: str) -> dict[str, Comparison]:
    found = {name: compare_pairs(BY_NAME[name], pairs, config.confidence, config.seed) for name in names}
    return {name: comparison for name, comparison in found.items() if comparison is not None}


def verdict_of(pairs: Sequence[Pair], config: CompareConfig) -> Verdict:
    return decide(measured(pairs, config, *config.metrics, "error_rate", "latency_ms"), config)[0]


@pytest.fixture(scope="module")
def pool() -> list[Pair]:
    """Two answers of one model to each question, as from a shadow that is the same model."""
    pairs = []
    for number, row in enumerate(questions()[:600]):
        answers = [exchange(row, number + 1000 * shadow, poor, bool(shadow)) for shadow in (0, 1)]
        pairs.append(Pair(answers[0], answers[1], row.messages[-1].content))
    return pairs


@pytest.mark.slow
def test_a_model_against_itself_is_promoted_in_at_most_one_of_twenty_runs(pool: list[Pair]) -> None:
    draw = random.Random(7)
    # without a margin, and with guardrails that hold: the gain alone decides, and half of all gains are above zero
    config = settings(margin=0, max_error_increase=1, max_latency_ratio=100)
    guardrails = measured(pool, config, "error_rate", "latency_ms")

    verdicts = [decide(measured(draw.sample(pool, 60), config, "rouge_l") | guardrails, config)[0] for _ in range(NUM_RUNS)]

    assert 0 < verdicts.count("promote") <= NUM_RUNS * 0.05
    assert verdicts.count("keep") == NUM_RUNS - verdicts.count("promote")


def test_a_practical_margin_leaves_little_to_chance(pool: list[Pair]) -> None:
    draw = random.Random(8)

    assert {verdict_of(draw.sample(pool, 120), settings()) for _ in range(5)} == {"keep"}


def test_a_better_model_is_promoted() -> None:
    draw = random.Random(9)
    rows = questions()[:600]
    better = [
        Pair(exchange(row, number, poor), exchange(row, number, good, shadow=True), row.messages[-1].content)
        for number, row in enumerate(rows)
    ]

    assert {verdict_of(draw.sample(better, 120), settings()) for _ in range(5)} == {"promote"}


def test_every_named_metric_has_to_gain(pool: list[Pair]) -> None:
    pairs = [
        Pair(exchange(item, number, poor), exchange(item, number, good, shadow=True, finish_reason="length"), item.messages[-1].content)
        for number, item in enumerate(questions()[:120])
    ]

    assert verdict_of(pairs, settings()) == "promote"
    assert verdict_of(pairs, settings(metrics=["rouge_l", "stop_share"])) == "keep"


def test_guardrails_that_too_few_pairs_leave_open_are_not_enough_data() -> None:
    pairs = [
        Pair(exchange(row, number, poor), exchange(row, number, good, shadow=True), row.messages[-1].content)
        for number, row in enumerate(questions()[:60])
    ]

    assert verdict_of(pairs, settings()) == "not_enough_data"  # no error in 60 pairs does not prove less than 2 % more
    assert verdict_of(pairs, settings(max_error_increase=0.05)) == "promote"


def test_share_intervals_are_not_empty_where_nothing_was_seen() -> None:
    nothing = share_interval(np.zeros(100), 0.95)
    half = share_interval(np.array([0.0, 1.0] * 50), 0.95)
    difference = share_difference_interval(np.zeros((100, 2)), 0.95)

    # Wilson (1927): z^2 / (n + z^2), and for one half +- 0.0960
    assert (nothing.value, nothing.low) == (0, 0) and nothing.high == pytest.approx(0.0370, abs=1e-4)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert (difference.value, difference.high, difference.low) == pytest.approx((0, 0.0192, -0.0192), abs=1e-4)


def test_paired_share_intervals_cover_the_truth() -> None:
    random_state = np.random.default_rng(0)
    both, only_first, only_second = 0.02, 0.03, 0.08
    covered = 0
    for _ in range(1000):
        kinds = random_state.choice(4, size=150, p=[both, only_first, only_second, 1 - both - only_first - only_second])
        values = np.array([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])[kinds]
        estimate = share_difference_interval(values, 0.95)
        covered += estimate.low <= only_second - only_first <= estimate.high

    assert 930 <= covered <= 985
