import math

import numpy as np
import pytest

from llmops_monitor.ab_config import PlanConfig
from llmops_monitor.plan import run as plan
from llmops_monitor.sequential import (
    MIN_UNITS,
    arm,
    boundary,
    difference_sequence,
    mismatch_p_value,
    narrowest_ratio,
    share_difference_sequence,
    share_sequence,
)  # fmt: skip
from llmops_shared.errors import LlmopsError
from llmops_shared.statistics import Floats

NUM_RUNS = 1000


def missed_at_any_look(
    kind: str, shift: float = 0.0, alpha: float = 0.05, num_units: int = 2000, planned: int = 1000
) -> tuple[float, float]:
    """Share of experiments whose interval leaves out the truth at some look, one after each unit; and whose interval leaves out 0."""
    random = np.random.default_rng(5)
    shape = (NUM_RUNS, num_units)
    noise = {
        "normal": lambda: random.normal(size=shape),
        "exponential": lambda: random.exponential(size=shape),
        "half": lambda: (random.random(shape) < 0.5).astype(float),
    }[kind]()
    treated = random.random(shape) < 0.5
    values = noise + shift * treated
    sides = []
    for mask in (~treated, treated):
        count, total = mask.cumsum(axis=1), (values * mask).cumsum(axis=1)
        square = (values * values * mask).cumsum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / count
            sides.append((count, mean, (square - count * mean**2) / (count - 1)))
    (num_control, control, control_variance), (num_treatment, treatment, treatment_variance) = sides
    enough = (num_control >= MIN_UNITS) & (num_treatment >= MIN_UNITS)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(control_variance / num_control + treatment_variance / num_treatment)
    reach = spread * np.array([boundary(number / planned, alpha) for number in range(1, num_units + 1)])
    difference = treatment - control
    missed = (enough & (np.abs(difference - shift) > reach)).any(axis=1)
    found = (enough & (np.abs(difference) > reach)).any(axis=1)
    # the function itself draws the interval that was simulated
    last = [arm(values[0][mask[0]]) for mask in (~treated, treated)]
    estimate = difference_sequence(last[0], last[1], 1 - alpha, planned)
    assert estimate is not None and estimate.high - estimate.low == pytest.approx(2 * reach[0, -1])
    return float(missed.mean()), float(found.mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "exponential", "half"])
def test_the_interval_holds_at_all_looks_together(kind: str) -> None:
    missed, _ = missed_at_any_look(kind)

    # 2,000 looks with a fixed-size 95 % interval would miss in about half of the experiments
    assert 0.005 < missed < 0.05 + 3 * math.sqrt(0.05 * 0.95 / NUM_RUNS)


@pytest.mark.slow
def test_a_difference_is_found_at_the_planned_size() -> None:
    planned = plan(PlanConfig(min_gain=0.3, margin=0, sd=1, power=0.9, num_metrics=1)).measurements[0].value
    missed, found = missed_at_any_look("normal", shift=0.3, alpha=0.05 / 3, num_units=int(planned), planned=int(planned))

    assert planned == 980
    assert missed < 0.05 / 3 and found > 0.9


def test_the_widths_are_those_of_the_papers() -> None:
    ratio = narrowest_ratio(0.05)

    assert math.log1p(ratio) - 2 * math.log(0.05) == pytest.approx(ratio)  # stationary: d width / d ratio = 0
    widths = [boundary(1.0, 0.05) / math.sqrt(1.0), *(boundary(progress, 0.05) for progress in (0.1, 10.0))]
    assert widths == pytest.approx([3.035, 3.823, 3.246], abs=1e-3)  # 1.96 for a single look
    assert all(boundary(1, alpha) > boundary(1, 0.2) for alpha in (0.05, 0.001))


def test_too_few_or_constant_values_have_no_interval() -> None:
    some: Floats = np.arange(29.0)

    assert difference_sequence(arm(some), arm(np.arange(100.0)), 0.95, 1000) is None
    assert difference_sequence(arm(np.ones(50)), arm(np.ones(50)), 0.95, 1000) is None
    assert arm([]) == (0, 0.0, 0.0) and arm([3.0]) == (1, 3.0, 0.0)


@pytest.mark.slow
def test_share_sequences_hold_at_all_looks_and_are_of_use_without_an_event() -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        events = np.cumsum(random.random(600) < 0.03)
        looks = (share_sequence(int(events[number - 1]), number, 0.95) for number in range(20, 600, 20))
        missed += any(not look.low <= 0.03 <= look.high for look in looks)

    assert missed / 200 <= 0.05
    none = share_sequence(0, 1000, 0.975)
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(0.0077, abs=1e-4)
    assert share_sequence(1000, 1000, 0.975).high == 1 and share_sequence(0, 0, 0.95)[1:3] == (0, 1)
    both = share_difference_sequence(none, share_sequence(50, 1000, 0.975))
    assert both.value == 0.05 and 0 < both.low < 0.05 < both.high


def test_a_broken_split_is_found_and_a_fair_one_is_not() -> None:
    random = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        treated = np.cumsum(random.random(3000) < 0.2)
        looks = ((number - int(treated[number - 1]), int(treated[number - 1])) for number in range(10, 3000, 10))
        alarms += any(mismatch_p_value(counts, [4, 1]) < 0.05 for counts in looks)

    assert alarms / 200 <= 0.05
    assert mismatch_p_value([600, 400], [1, 1]) < 1e-6 and mismatch_p_value([2000, 400], [4, 1]) < 0.01
    assert mismatch_p_value([0, 0], [1, 1]) == 1 and mismatch_p_value([5, 1], [1, 0]) == 0


def test_a_plan_says_how_many_requests_and_how_long() -> None:
    report = plan(PlanConfig(min_gain=0.05, sd=0.3, requests_per_day=2000))
    once = plan(PlanConfig(design="shadow", min_gain=0.05, margin=0, sd=0.5))

    figures = {item.name: item.value for item in report.measurements}
    assert figures["num_requests"] == 7239 and figures["days"] == pytest.approx(3.6195)
    assert figures["num_requests/looked_at_once"] == 3140  # 4 * (1.96 + 0.8416)^2 * 0.3^2 / 0.03^2
    assert once.measurements[0].value == 785  # (1.96 + 0.8416)^2 * 100
    assert "Give planned_units=7239" in report.reasons[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["min_gain=0.02", "sd=1"], "min_gain (0.02) must be above margin (0.02)"),
        (["min_gain=0.05"], "give either sd="),
        (["min_gain=0.05", "share=0.5", "design=shadow"], "design=shadow needs sd="),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused(words: list[str], told: str) -> None:
    from llmops_shared.config import load_config

    with pytest.raises(LlmopsError) as refused:
        load_config(PlanConfig, None, words)
    assert told in str(refused.value)
