import pytest

from llmops_shared.review.agreement import cohen_kappa, krippendorff_alpha

# four observers, twelve units, with gaps: Krippendorff (2011), section C
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def test_alpha_is_the_published_one() -> None:
    units = [[str(label) for label in unit if label is not None] for unit in zip(*OBSERVERS, strict=True)]

    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_kappa_is_the_published_one() -> None:
    # 50 grant proposals read by two people: yes-yes 20, yes-no 5, no-yes 10, no-no 15
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15

    assert cohen_kappa(pairs) == pytest.approx(0.4)


def test_perfect_and_undefined_agreement() -> None:
    assert cohen_kappa([("a", "a"), ("b", "b")]) == 1
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    assert cohen_kappa([]) is None and cohen_kappa([("a", "a")] * 3) is None
    assert krippendorff_alpha([]) is None and krippendorff_alpha([["a"], ["b"]]) is None and krippendorff_alpha([["a", "a"]]) is None
