"""The published rules decide as datatrove's own filters do, whose decisions are recorded in a file beside this one."""

import json
from pathlib import Path

import pytest

from llmops_preprocess.c4 import clean_page
from llmops_preprocess.fineweb import broken_fineweb_rule
from llmops_preprocess.gopher import broken_quality_rule, broken_repetition_rule
from llmops_preprocess.row_rules_config import C4, FineWeb, GopherQuality, GopherRepetition
from support.datatrove_decisions import FILTERS, digest, pieces


@pytest.fixture(scope="module")
def compared():
    """(decisions of datatrove, ours, what is left by C4 in datatrove, in ours) of each piece that is as it was."""
    recorded = json.loads(Path(__file__).with_name("datatrove_decisions.json").read_text())
    found = []
    for text in dict.fromkeys(pieces()):
        if (theirs := recorded["decisions"].get(digest(text))) is None:
            continue
        cleaned, why = clean_page(text, C4())
        ours = [
            broken_repetition_rule(text, GopherRepetition()) is None, broken_quality_rule(text, GopherQuality()) is None, why is None,
            broken_fineweb_rule(text, FineWeb()) is None,
        ]  # fmt: skip
        found.append((theirs[:-1], ours, theirs[-1], digest(" ".join(cleaned.split()))))
    if len(found) < 0.5 * len(recorded["decisions"]):
        pytest.skip(f"this Python's reference is another than that of Python {recorded['python']}, of which datatrove's decisions are")
    return found


@pytest.mark.parametrize("name", FILTERS)
def test_at_least_99_of_100_decisions_are_those_of_datatrove(compared, name):
    number = FILTERS.index(name)

    equal = sum(theirs[number] == ours[number] for theirs, ours, *_ in compared)

    assert equal >= 0.99 * len(compared), f"{equal} of {len(compared)}"
    assert 0.02 < sum(theirs[number] for theirs, *_ in compared) / len(compared) < 0.999  # it keeps some and drops some


def test_all_filters_together(compared):
    assert sum(all(theirs) == all(ours) for theirs, ours, *_ in compared) >= 0.99 * len(compared)


def test_c4_leaves_the_same_lines(compared):
    both = [(theirs, ours) for theirs_kept, ours_kept, theirs, ours in compared if theirs_kept[2] and ours_kept[2]]

    assert len(both) > 30
    assert sum(theirs == ours for theirs, ours in both) >= 0.99 * len(both)
