"""A run split over processes: the same losses as in one, and the engine asked for at work."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import read_document
from llmops_train.cli import main
from support.ranks import Ranks
from unit.train.tiny import tiny_settings

LLAMA = {
    "hidden_size": 32,
    "num_layers": 4,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "tie_embeddings": False,
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.close()


def words(out: Path, text: str, **more: Any) -> list[str]:
    """The command line of a tiny run."""
    start = {"max_steps": 6, "validate_every_steps": 3, "checkpoint_every_steps": 2, "architecture": LLAMA, "batch_sequences": 8}
    given = {**tiny_settings(method="pretrain", dataset=text, out=str(out)), **start, **more}
    return ["run", *(f"{key}={json.dumps(value)}" for key, value in given.items())]


def figures(out: Path) -> dict[str, float]:
    document = read_document(str(out), TrainingRun)
    return {name: document.metrics[name] for name in ("train_loss", "validation_loss")} | {"tokens": document.num_tokens}


@pytest.fixture(scope="module")
def alone(text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The figures of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert main(words(out, text)) == 0
    return figures(out)


LAYOUTS = {
    "ddp": (2, {"engine": "ddp"}, {"module": "DistributedDataParallel", "data": 2}),
    "fsdp2": (2, {"engine": "fsdp2"}, {"module": "FSDPLlamaForCausalLM", "data": 2}),
    "zero1": (2, {"engine": "deepspeed", "zero_stage": 1}, {"module": "DeepSpeedEngine", "optimizer": "DeepSpeedZeroOptimizer"}),
    "zero2": (2, {"engine": "deepspeed", "zero_stage": 2}, {"module": "DeepSpeedEngine", "optimizer": "DeepSpeedZeroOptimizer"}),
    "zero3": (2, {"engine": "deepspeed", "zero_stage": 3}, {"module": "DeepSpeedEngine", "optimizer": "DeepSpeedZeroOptimizer_Stage3"}),
    "tensor": (2, {"engine": "fsdp2", "tensor": 2}, {"split_matrices": 28, "data": 1}),
    "pipeline": (2, {"engine": "fsdp2", "pipeline": 2}, {"blocks_here": 2, "micro_batches": 2}),
    "3d": (
        8,
        {"engine": "fsdp2", "tensor": 2, "pipeline": 2},
        {"data": 2, "tensor": 2, "pipeline": 2, "blocks_here": 2, "split_matrices": 14},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_split_run_has_the_losses_of_one_process(ranks: Ranks, text: str, tmp_path: Path, alone: dict[str, float], layout: str) -> None:
    size, parallel, facts = LAYOUTS[layout]

    log = ranks.run(words(tmp_path / "run", text, parallel=parallel), size)

    assert figures(tmp_path / "run") == pytest.approx(alone, abs=1e-5)
    kept = json.loads((tmp_path / "run" / "parallel.json").read_text())
    assert facts.items() <= kept.items()
    assert "parallel: engine" in log
