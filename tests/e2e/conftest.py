"""The loop of loop.sh, run once for all tests here: the same commands in the same order, with less training (tests/support/small_loop.py)."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from support.loop import REPOSITORY, steps
from support.small_loop import run, shown


class Loop(NamedTuple):
    """A finished loop."""

    work: Path
    tracking_uri: str
    table: str


@pytest.fixture(scope="session")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    work = tmp_path_factory.mktemp("a loop")
    tracking_uri = f"sqlite:///{work}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "loop")
        for step in steps(work)[:-1]:
            assert run(step) == step.exit_code, step.argv
        table = shown(steps(work)[-1])
    return Loop(work, tracking_uri, table)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, loop: Loop) -> None:
    """The loop's environment, for a test that runs its commands again."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", loop.tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "loop")
    os.environ.pop("RANK", None)
