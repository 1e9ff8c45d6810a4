"""The drift verdict: every test corrected for all the others, and no change too small to matter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops_monitor.classifier import Separation
from llmops_monitor.config import DriftConfig
from llmops_monitor.two_samples import Shift, auc_of, compare_samples, distance_of, holm, standard_shift
from llmops_shared.contracts.report import Measurement, Verdict
from llmops_shared.statistics import Floats

CONFIDENCE = 0.95
SHIFT, DISTANCE, P_VALUE, AUC = "shift", "ks", "p_value", "classifier_auc"

Values = Mapping[str, tuple[Floats, Floats]]
"""Descriptor to its values in the reference and in the current window."""


@dataclass(frozen=True)
class Finding:
    """One test after correction."""

    name: str
    p_value: float
    """Corrected for all tests of the report (Holm)."""
    drifted: bool
    reason: str
    """In words, with the figures."""


@dataclass(frozen=True)
class Judgement:
    """What the tests say."""

    verdict: Verdict
    reasons: list[str]
    measurements: list[Measurement]


def num_permutations(config: DriftConfig, num_tests: int) -> int:
    """So many that the smallest p of a permutation test stays below alpha after correction, by a factor of two."""
    return math.ceil(2 * num_tests / config.alpha)


def judge(values: Values, separation: Separation | None, config: DriftConfig) -> Judgement:
    """Tests each descriptor, takes in the classifier's test, and decides; `separation` is None where no classifier was run."""
    shifts = {name: compare_samples(*windows) for name, windows in values.items()}
    p_values = [shift.p_value for shift in shifts.values()] + ([] if separation is None else [separation.p_value])
    corrected = holm(p_values)
    findings = [column_finding(name, values[name], shifts[name], p, config) for name, p in zip(shifts, corrected, strict=False)]
    if separation is not None:
        findings.append(classifier_finding(separation, corrected[-1], config))
    drifted = [finding for finding in findings if finding.drifted]
    measurements = [figure for finding in findings if finding.name in values for figure in figures(finding, values, shifts)]
    if separation is not None:
        measurements += classifier_figures(separation, corrected[-1])
    if drifted:
        return Judgement("drift", [finding.reason for finding in sorted(drifted, key=lambda finding: finding.p_value)], measurements)
    return Judgement("no_drift", calm_reasons(findings, config), measurements)


def column_finding(name: str, windows: tuple[Floats, Floats], shift: Shift, p_value: float, config: DriftConfig) -> Finding:
    """Whether a descriptor moved, and by enough."""
    least = distance_of(config.min_shift)
    standard = standard_shift(*windows, CONFIDENCE)
    means = f"{name}: mean {windows[1].mean():.4g} instead of {windows[0].mean():.4g}" + (
        "" if standard is None else f" ({standard[0]:+.2f} sd)"
    )
    figures = f"{means}, Kolmogorov-Smirnov distance {shift.distance:.3f}, corrected p = {p_value:.2g}"
    if p_value >= config.alpha:
        return Finding(name, p_value, False, f"{figures}.")
    if shift.distance < least:
        return Finding(
            name, p_value, False, f"{figures}: proven, but below the distance {least:.3f} that counts (min_shift {config.min_shift})."
        )
    return Finding(name, p_value, True, f"{figures}.")


def classifier_finding(separation: Separation, p_value: float, config: DriftConfig) -> Finding:
    """Whether the windows' words tell them apart."""
    auc, least = separation.auc, auc_of(config.min_shift)
    drifted = p_value < config.alpha and auc.value >= least
    ability = "tells the windows apart" if drifted else "does not tell the windows apart"
    figures = f"AUC {auc.value:.3f} ({CONFIDENCE:.0%} interval {auc.low:.3f} to {auc.high:.3f}), corrected p = {p_value:.2g}"
    small = f"; an AUC below {least:.3f} does not count" if p_value < config.alpha and not drifted else ""
    return Finding(AUC, p_value, drifted, f"A classifier on words {ability}: {figures}{small}.")


def calm_reasons(findings: Sequence[Finding], config: DriftConfig) -> list[str]:
    """Why no drift: the nearest descriptor, the classifier, and what was proven but is too small."""
    columns = sorted((finding for finding in findings if finding.name != AUC), key=lambda finding: finding.p_value)
    reasons = []
    small = [finding for finding in columns if finding.p_value < config.alpha]
    if small:
        reasons += [finding.reason for finding in small]
    elif columns:
        reasons.append(f"No descriptor moved at corrected p < {config.alpha}; the nearest is {columns[0].reason}")
    return reasons + [finding.reason for finding in findings if finding.name == AUC]


def figures(finding: Finding, values: Values, shifts: Mapping[str, Shift]) -> list[Measurement]:
    """A descriptor's distance, corrected p and shift in standard deviations of the reference."""
    name, windows = finding.name, values[finding.name]
    num_rows = len(windows[0]) + len(windows[1])
    standard = standard_shift(*windows, CONFIDENCE)
    found = [plain(f"{DISTANCE}/{name}", shifts[name].distance, num_rows), plain(f"{P_VALUE}/{name}", finding.p_value, num_rows)]
    if standard is not None:
        value, low, high = standard
        shift = Measurement(
            name=f"{SHIFT}/{name}", value=value, low=low, high=high, confidence=CONFIDENCE, num_rows=num_rows, better="neither", unit="sd"
        )
        found.append(shift)
    return found


def classifier_figures(separation: Separation, p_value: float) -> list[Measurement]:
    """The classifier's AUC and corrected p."""
    auc = separation.auc
    figure = Measurement(
        name=AUC, value=auc.value, low=auc.low, high=auc.high, confidence=CONFIDENCE, num_rows=auc.num_rows, better="neither"
    )
    return [figure, plain(f"{P_VALUE}/{AUC}", p_value, auc.num_rows)]


def plain(name: str, value: float, num_rows: int) -> Measurement:
    """A figure without an interval."""
    return Measurement(name=name, value=value, low=None, high=None, confidence=None, num_rows=num_rows, better="neither")
