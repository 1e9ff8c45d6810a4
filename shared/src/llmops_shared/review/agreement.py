"""How far people, and a judge and people, agree beyond chance."""

from collections import Counter
from collections.abc import Sequence


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa (1960) of two raters on the same items: 1 agree, 0 as by chance.

    None without items, and where both raters use one and the same label throughout: then chance alone explains everything.
    """
    if not pairs:
        return None
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = sum(one == other for one, other in pairs) / len(pairs)
    expected = sum(first[label] * second[label] for label in first) / len(pairs) ** 2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal labels, any number of raters and gaps (Computing Krippendorff's Alpha-Reliability, 2011).

    `units` holds the labels each item got. None where no item has two labels, or all labels are the same.
    """
    rated = [Counter(unit) for unit in units if len(unit) > 1]
    totals: Counter[str] = sum(rated, Counter())
    num_values = totals.total()
    disagreement = sum((unit.total() ** 2 - sum(count**2 for count in unit.values())) / (unit.total() - 1) for unit in rated)
    expected = num_values**2 - sum(count**2 for count in totals.values())
    if not expected:
        return None
    return 1 - (num_values - 1) * disagreement / expected
