"""Checkpoints: read by other numbers of processes, found out when damaged, few requests into S3, no room, SIGTERM."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ranks import Ranks
from unit.train.trainee import losses_in

TRAINEE = "unit.train.trainee:main"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.close()


def trainee(
    ranks: Ranks, text: str, out: Path, size: int = 1, nodes: int = 1, environment: dict[str, str] | None = None, **order: Any
) -> list[int]:
    """Exit codes of a training by these processes; its losses are in `<out>/losses`."""
    out.mkdir(parents=True, exist_ok=True)
    full = {"text": text, "folder": str(out / "checkpoint"), "losses": str(out / "losses"), **order}
    started = ranks.start([json.dumps(full)], size, nodes, environment, entry=TRAINEE)
    codes = started.codes()
    assert all(code in (0, -signal.SIGKILL) for code in codes), started.log()[-6000:]
    return codes


@pytest.fixture(scope="module")
def unbroken(ranks: Ranks, text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The loss of each step of a run in one process that nothing stops."""
    out = tmp_path_factory.mktemp("unbroken")
    trainee(ranks, text, out)
    return {step: float.fromhex(*losses) for step, losses in losses_in(out / "losses").items()}


def means(out: Path) -> dict[int, float]:
    """The last loss seen at each step."""
    lines = [json.loads(line) for line in (out / "losses").read_text().splitlines()]
    return {step: float.fromhex(loss) for step, loss in lines}


FSDP = {"engine": "fsdp2"}
CHAINS = {
    "ddp": [(2, {"engine": "ddp"}), (1, {"engine": "none"}), (4, {"engine": "ddp"})],
    "fsdp2": [(2, FSDP), (1, FSDP), (4, FSDP)],
    "zero": [(2, {"engine": "deepspeed"}), (1, {"engine": "none"}), (4, {"engine": "deepspeed", "zero_stage": 3})],
    "3d": [(4, {**FSDP, "tensor": 2, "pipeline": 2}), (1, {"engine": "none"}), (2, {**FSDP, "tensor": 2})],
}


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_another_number_of_processes_goes_on_in_the_same_order(
    ranks: Ranks, text: str, tmp_path: Path, unbroken: dict[int, float], chain: str
) -> None:
    for number, (size, parallel) in enumerate(CHAINS[chain]):
        stop_at = (4, 8, None)[number]
        trainee(ranks, text, tmp_path, size, settings={"parallel": parallel, "checkpoint_every_steps": 100}, stop_at=stop_at)

    assert means(tmp_path) == pytest.approx(unbroken, abs=1e-5)
    assert len(unbroken) == 12
