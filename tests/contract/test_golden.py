"""Contracts and settings move only on purpose: `make golden` after a deliberate change, which the diff then shows."""

import pytest

from support.golden import FOLDER, REPOSITORY, golden

EXPECTED = dict(golden())


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.stem)
def test_the_committed_shape_is_the_shape_of_the_code(path):
    assert path.exists(), f"{path.relative_to(REPOSITORY)} is not committed: run `make golden`"
    assert path.read_text(encoding="utf-8") == EXPECTED[path], f"{path.name} moved; if that is meant, run `make golden`"


def test_no_shape_is_left_of_what_is_gone():
    kept = {path for folder in ("contracts", "settings", "engines") for path in (FOLDER / folder).glob("*")}

    assert kept == set(EXPECTED)
