"""The drift gate on two profiles: every column tested, corrected for all the others, too little data a verdict of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmops_monitor.judgement import Finding, Judgement, plain
from llmops_monitor.profile import OTHER, NumberColumn, Profile, WordColumn
from llmops_monitor.two_samples import compare_samples, distance_of, holm, standard_shift
from llmops_shared.contracts.report import Measurement
from llmops_shared.statistics import Floats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Limits:
    """What counts as drift."""

    alpha: float = 0.005
    """Chance of a false alarm, over all tests together."""
    min_rows: int = 50
    """With fewer rows in a profile there is no verdict."""
    min_shift: float = 0.2
    """Smallest change of a column of numbers that counts, in standard deviations of a normal distribution."""
    min_share: float = 0.05
    """Smallest change of a share (of missing values, of a category) that counts."""


@dataclass(frozen=True)
class Test:
    """One test before correction."""

    name: str
    kind: str
    """`values`, `missing` or `categories`."""
    p_value: float
    size: float
    """Kolmogorov-Smirnov distance, or the largest change of a share."""
    matters: bool
    """Whether the change is large enough to count."""
    words: str


def judge_profiles(reference: Profile, current: Profile, limits: Limits) -> Judgement:
    """Verdict, reasons and figures. A column that only one profile has is drift by itself: the schema changed."""
    if min(reference.num_rows, current.num_rows) < limits.min_rows:
        reason = (
            f"The profiles hold {reference.num_rows} (reference) and {current.num_rows} (current) rows; "
            f"{limits.min_rows} are needed in each (min_rows)."
        )
        return Judgement("not_enough_data", [reason], [])
    schema = schema_reasons(reference, current)
    tests, scarce = tests_of(reference, current, limits)
    corrected = holm([test.p_value for test in tests])
    findings = [finding_of(test, p_value, limits) for test, p_value in zip(tests, corrected, strict=True)]
    measurements = [figure for test, p in zip(tests, corrected, strict=True) for figure in figures_of(test, p, reference, current)]
    drifted = sorted((finding for finding in findings if finding.drifted), key=lambda finding: finding.p_value)
    if schema or drifted:
        # figures of the tests stay: a new column is no reason to lose sight of the old ones
        return Judgement("drift", schema + [finding.reason for finding in drifted] + scarce, measurements)
    if not tests:
        return Judgement("not_enough_data", scarce or ["The profiles share no column with values."], measurements)
    nearest = min(findings, key=lambda finding: finding.p_value)
    small = [finding.reason for finding in findings if finding.p_value < limits.alpha]
    calm = small or [f"No column moved at corrected p < {limits.alpha}; the nearest is {nearest.reason}"]
    return Judgement("no_drift", calm + scarce, measurements)


def schema_reasons(reference: Profile, current: Profile) -> list[str]:
    """Columns that went, came, or changed their kind."""
    gone = sorted(reference.columns.keys() - current.columns.keys())
    come = sorted(current.columns.keys() - reference.columns.keys())
    other = sorted(
        name
        for name in reference.columns.keys() & current.columns.keys()
        if type(reference.columns[name]) is not type(current.columns[name])
        and has_values(reference.columns[name], reference.num_rows)
        and has_values(current.columns[name], current.num_rows)
    )
    reasons = []
    if gone:
        reasons.append(f"Columns of the reference are not there any more: {', '.join(gone)}.")
    if come:
        reasons.append(f"Columns are new: {', '.join(come)}.")
    if other:
        reasons.append(f"Columns changed between numbers and words: {', '.join(other)}.")
    return reasons


def has_values(column: NumberColumn | WordColumn, num_rows: int) -> bool:
    """Whether any row has a value."""
    return column.num_missing < num_rows


def tests_of(reference: Profile, current: Profile, limits: Limits) -> tuple[list[Test], list[str]]:
    """All tests the profiles allow, and which columns have too few values for one."""
    tests, scarce = [], []
    for name, before in reference.columns.items():
        now = current.columns.get(name)
        if now is None:
            continue
        if before.num_missing or now.num_missing:  # where none is missing there is nothing to test, and nothing to correct for
            tests.append(missing_test(name, before.num_missing, reference.num_rows, now.num_missing, current.num_rows, limits))
        if isinstance(before, NumberColumn) and isinstance(now, NumberColumn):
            old, new = present(before.sample), present(now.sample)
            if min(len(old), len(new)) >= limits.min_rows:
                tests.append(number_test(name, old, new, limits))
            elif has_values(before, reference.num_rows) or has_values(now, current.num_rows):
                scarce.append(f"{name}: {len(old)} and {len(new)} values are too few for a test (min_rows {limits.min_rows}).")
        elif isinstance(before, WordColumn) and isinstance(now, WordColumn):
            few = min(before.counts.total(), now.counts.total()) < limits.min_rows
            if not few:
                tests.append(category_test(name, before, now, limits))
    return tests, scarce


def present(values: Floats) -> Floats:
    """The values that are there."""
    result: Floats = values[values == values]  # NaN is no value, not even to itself
    return result


def number_test(name: str, before: Floats, now: Floats, limits: Limits) -> Test:
    """Kolmogorov-Smirnov and Mann-Whitney on the samples."""
    shift = compare_samples(before, now)
    standard = standard_shift(before, now, CONFIDENCE)
    moved = "" if standard is None else f" ({standard[0]:+.2f} sd)"
    words = f"{name}: mean {now.mean():.4g} instead of {before.mean():.4g}{moved}, Kolmogorov-Smirnov distance {shift.distance:.3f}"
    return Test(name, "values", shift.p_value, shift.distance, shift.distance >= distance_of(limits.min_shift), words)


def missing_test(name: str, before: int, rows_before: int, now: int, rows_now: int, limits: Limits) -> Test:
    """Whether the share of missing values changed: the chi-square test of a two by two table."""
    shares = before / rows_before, now / rows_now
    p_value = chi_square([(before, now), (rows_before - before, rows_now - now)])
    words = f"{name}: missing in {shares[1]:.1%} of rows instead of {shares[0]:.1%}"
    size = abs(shares[1] - shares[0])
    return Test(name, "missing", p_value, size, size >= limits.min_share, words)


def category_test(name: str, before: WordColumn, now: WordColumn, limits: Limits) -> Test:
    """Whether the mix changed, new categories included: the chi-square test, rare categories taken together (Cochran 1954)."""
    totals = before.counts.total(), now.counts.total()
    smaller = min(totals) / sum(totals)
    cells, rest = [], [0, 0]
    names = sorted(before.counts.keys() | now.counts.keys())
    for category in names:
        pair = before.counts[category], now.counts[category]
        if sum(pair) * smaller >= 5:
            cells.append(pair)
        else:
            rest = [rest[0] + pair[0], rest[1] + pair[1]]
    if any(rest):
        cells.append((rest[0], rest[1]))
    changes = {category: now.counts[category] / totals[1] - before.counts[category] / totals[0] for category in names}
    most = max(names, key=lambda category: (abs(changes[category]), category))
    fresh = (
        [category for category in now.counts if category not in before.counts and category != OTHER] if OTHER not in before.counts else []
    )
    size = abs(changes[most])
    came = f"; new: {', '.join(sorted(fresh)[:5])}" if fresh else ""
    words = f"{name}: {most} is {now.counts[most] / totals[1]:.1%} instead of {before.counts[most] / totals[0]:.1%}{came}"
    return Test(name, "categories", chi_square(cells), size, size >= limits.min_share, words)


def chi_square(cells: Sequence[tuple[int, int]]) -> float:
    """p-value of a table of [num_categories, 2] counts; 1 where there is nothing to compare. Fisher's exact test where counts are small."""
    from scipy.special import gammaincc

    cells = [cell for cell in cells if sum(cell)]
    columns = sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)
    if len(cells) < 2 or not all(columns):
        return 1.0
    total = sum(columns)
    if len(cells) == 2 and min(sum(cell) * column / total for cell in cells for column in columns) < 5:
        from scipy.stats import fisher_exact

        return float(fisher_exact(np.array(cells)).pvalue)
    statistic = sum(
        (cell[side] - sum(cell) * columns[side] / total) ** 2 / (sum(cell) * columns[side] / total) for cell in cells for side in (0, 1)
    )
    return float(gammaincc((len(cells) - 1) / 2, statistic / 2))


def finding_of(test: Test, p_value: float, limits: Limits) -> Finding:
    """The test after correction, in words."""
    figures = f"{test.words}, corrected p = {p_value:.2g}"
    if p_value < limits.alpha and not test.matters:
        least = limits.min_share if test.kind != "values" else distance_of(limits.min_shift)
        return Finding(test.name, p_value, False, f"{figures}: proven, but below the {least:.3f} that counts.")
    return Finding(test.name, p_value, p_value < limits.alpha, f"{figures}.")


def figures_of(test: Test, p_value: float, reference: Profile, current: Profile) -> list[Measurement]:
    """Size and corrected p of a test; of a column of numbers the shift in standard deviations of the whole reference, too."""
    num_rows = reference.num_rows + current.num_rows
    label = {"values": "ks", "missing": "missing", "categories": "share"}[test.kind]
    suffix = test.name if test.kind == "values" else f"{test.name}_{test.kind}"
    found = [plain(f"{label}/{test.name}", test.size, num_rows), plain(f"p_value/{suffix}", p_value, num_rows)]
    before, now = reference.columns[test.name], current.columns[test.name]
    if test.kind == "values" and isinstance(before, NumberColumn) and isinstance(now, NumberColumn):
        counts = reference.num_rows - before.num_missing, current.num_rows - now.num_missing
        spread = math.sqrt(before.squares / (counts[0] - 1)) if counts[0] > 1 else 0.0
        if spread > 0:
            found.append(plain(f"shift/{test.name}", (now.mean - before.mean) / spread, num_rows))
    return found
