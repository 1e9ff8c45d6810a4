"""The gate: whether one system is better or worse than another, or nothing can be told, on the rows both were judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llmops_shared.contracts.report import Measurement
from llmops_shared.errors import LlmopsError
from llmops_shared.page import VERDICTS, show
from llmops_train.evaluation.config import GateConfig, ThresholdConfig
from llmops_train.metrics.resampling import Difference, holm, paired
from llmops_train.metrics.scores import Scores

Outcome = Literal["better", "worse", "no_difference", "not_enough_data"]


@dataclass(frozen=True)
class Compared:
    """One measure of two systems."""

    name: str
    better: Literal["higher", "lower"]
    difference: Difference
    """Candidate minus baseline."""
    p_holm: float
    """p, adjusted for all measures compared."""
    margin: float
    """Smallest difference of practical meaning, in the measure's unit."""
    outcome: Outcome


def compare_scores(baseline: Mapping[str, Scores], candidate: Mapping[str, Scores], gate: GateConfig, seed: int) -> list[Compared]:
    """Every common measure compared. Raises LlmopsError when there is none, or one of `gate.measures` is missing on a side."""
    names = [name for name in baseline if name in candidate] if gate.measures is None else gate.measures
    missing = [name for name in names if name not in baseline or name not in candidate]
    if missing or not names:
        raise LlmopsError(
            f"{', '.join(missing) or 'the reports'}: not measured row by row on both sides (baseline has {', '.join(baseline)}; "
            f"candidate has {', '.join(candidate)}); evaluate both with the same measures"
        )
    apart = [name for name in names if baseline[name].signature != candidate[name].signature]
    if apart:
        name = apart[0]
        raise LlmopsError(
            f"{', '.join(apart)}: measured in different ways ({baseline[name].signature} and {candidate[name].signature}); "
            f"evaluate both with the same settings and versions"
        )
    differences = []
    for name in names:
        try:
            differences.append(paired(baseline[name], candidate[name], 1 - gate.alpha, gate.num_resamples, seed))
        except ValueError as error:
            raise LlmopsError(f"{name}: the two reports cannot be compared ({error}); evaluate both on the same rows") from error
    adjusted = holm([difference.p for difference in differences])
    return [settle(baseline[name], difference, p_holm, gate) for name, difference, p_holm in zip(names, differences, adjusted, strict=True)]


def settle(scores: Scores, difference: Difference, p_holm: float, gate: GateConfig) -> Compared:
    """The outcome of one measure: a difference counts when it is certain and large enough to matter."""
    margin = gate.margins.get(scores.name, gate.margin * abs(difference.first))
    gain = difference.value if scores.better == "higher" else -difference.value
    outcome: Outcome = "no_difference"
    if difference.num_rows < gate.min_rows:
        outcome = "not_enough_data"
    elif p_holm <= gate.alpha and abs(gain) >= margin and gain:
        outcome = "better" if gain > 0 else "worse"
    return Compared(scores.name, scores.better, difference, p_holm, margin, outcome)


def overall(compared: Sequence[Compared]) -> Outcome:
    """Worse if anything is, else better if anything is; not enough data only where no measure had any."""
    outcomes = [one.outcome for one in compared]
    if "worse" in outcomes:
        return "worse"
    if "better" in outcomes:
        return "better"
    return "not_enough_data" if set(outcomes) == {"not_enough_data"} else "no_difference"


def sentence(one: Compared) -> str:
    """The outcome of a measure in words, with its figures."""
    found = one.difference
    return (
        f"{one.name}: {VERDICTS[one.outcome].lower()}, {show(found.first)} to {show(found.second)} "
        f"(difference {found.value:+.4g}, interval {found.low:+.4g} to {found.high:+.4g}, p {one.p_holm:.2g} after Holm, "
        f"margin {one.margin:.2g}, {found.num_rows} rows)"
    )


def check_thresholds(measurements: Sequence[Measurement], thresholds: Mapping[str, ThresholdConfig]) -> tuple[bool, list[str]]:
    """Whether every bound holds, and one sentence each. Raises LlmopsError for a bound of what was not measured."""
    values = {item.name: item.value for item in measurements}
    unknown = [name for name in thresholds if name not in values]
    if unknown:
        raise LlmopsError(f"thresholds: {', '.join(unknown)} was not measured (measured: {', '.join(values)}); add it to measures")
    reasons, met = [], True
    for name, bound in thresholds.items():
        low_enough = bound.at_most is None or values[name] <= bound.at_most
        high_enough = bound.at_least is None or values[name] >= bound.at_least
        wanted = " and ".join(
            f"{word} {limit:g}" for word, limit in (("at least", bound.at_least), ("at most", bound.at_most)) if limit is not None
        )
        met = met and low_enough and high_enough
        reasons.append(f"{name}: {show(values[name])} {'meets' if low_enough and high_enough else 'misses'} the threshold of {wanted}")
    return met, reasons
