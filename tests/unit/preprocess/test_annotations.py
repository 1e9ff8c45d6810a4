"""Annotations: what was found where, without the text."""

import pytest

from llmops_preprocess.annotations import Annotation, non_overlapping


def test_of_overlapping_ones_the_surest_stays_and_of_equals_the_longest():
    email = Annotation("EMAIL", 5, 20, 0.9, "rules")
    name = Annotation("NAME", 5, 9, 0.5, "comprehend")
    short = Annotation("PHONE", 30, 35, 0.8, "rules")
    long = Annotation("PHONE", 28, 40, 0.8, "rules")
    after = Annotation("IP_ADDRESS", 40, 50, 1.0, "rules")

    assert non_overlapping([name, short, after, long, email]) == [email, long, after]


@pytest.mark.parametrize(("begin", "end", "score"), [(-1, 2, 0.5), (3, 2, 0.5), (0, 1, 1.1)])
def test_what_lies_outside_a_text_or_a_probability_is_refused(begin, end, score):
    with pytest.raises(ValueError, match="no annotation: EMAIL"):
        Annotation("EMAIL", begin, end, score, "rules")
