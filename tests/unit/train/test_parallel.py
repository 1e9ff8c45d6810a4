"""A run split over processes: the same losses as in one, and the engine asked for at work."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_train.cli import main
from llmops_train.parallel.world import World, world_of
from llmops_train.parallel_config import ParallelConfig
from support.ranks import Ranks
from support.tools import lacking
from unit.train.tiny import tiny_settings

LLAMA = {
    "hidden_size": 32,
    "num_layers": 4,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "tie_embeddings": False,
}


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


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_split_run_has_the_losses_of_one_process(ranks: Ranks, text: str, tmp_path: Path, alone: dict[str, float], layout: str) -> None:
    size, parallel, facts = LAYOUTS[layout]

    log = ranks.run(words(tmp_path / "run", text, parallel=parallel), size)

    assert figures(tmp_path / "run") == pytest.approx(alone, abs=1e-5)
    kept = json.loads((tmp_path / "run" / "parallel.json").read_text())
    assert facts.items() <= kept.items()
    assert "parallel: engine" in log


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_with_the_optimizer_on_the_host(ranks: Ranks, text: str, tmp_path: Path, alone: dict[str, float], stage: int) -> None:
    if not shutil.which("g++"):
        lacking("a C++ compiler", "apt-get install g++: DeepSpeed compiles its optimizer for the host at first use")
    parallel = {"engine": "deepspeed", "zero_stage": stage, "offload": True}

    ranks.run(words(tmp_path / "run", text, parallel=parallel), 2)

    assert figures(tmp_path / "run") == pytest.approx(alone, abs=1e-5)
    kept = json.loads((tmp_path / "run" / "parallel.json").read_text())
    assert kept["inner_optimizer"] == "DeepSpeedCPUAdam" and kept["settings"]["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert kept["settings"]["gradient_clipping"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [{"micro_batch_sequences": 3}, {"gradient_checkpointing": True}, {"micro_batch_sequences": 1, "gradient_checkpointing": True}]
)
def test_micro_batches_and_recomputed_activations_give_the_same_losses(
    text: str, tmp_path: Path, alone: dict[str, float], how: dict[str, Any]
) -> None:
    assert main(words(tmp_path / "run", text, **how)) == 0

    assert figures(tmp_path / "run") == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [{"engine": "ddp"}, {"engine": "fsdp2"}], ids=["ddp", "fsdp2"])
def test_rows_that_do_not_come_out_even_are_all_trained_on_once(ranks: Ranks, text: str, tmp_path: Path, parallel: dict[str, Any]) -> None:
    """Seven rows for three processes that take two at a time."""
    assert main(words(tmp_path / "alone", text, batch_sequences=7)) == 0

    ranks.run(words(tmp_path / "three", text, batch_sequences=7, micro_batch_sequences=2, parallel=parallel), 3)

    assert figures(tmp_path / "three") == pytest.approx(figures(tmp_path / "alone"), abs=1e-5)


@pytest.mark.slow
def test_an_adapter_is_trained_in_shards(ranks: Ranks, chat: str, pretrained: str, tmp_path: Path) -> None:
    more = {"model": pretrained, "lora": {"rank": 4}, "max_steps": 4, "dtype": "bfloat16"}
    for name, size, parallel in (("one", 1, {"engine": "none"}), ("two", 2, {"engine": "fsdp2"})):
        settings = {**tiny_settings(method="lora", dataset=chat, out=str(tmp_path / name)), **more, "parallel": parallel}
        ranks.run(["run", *(f"{key}={json.dumps(value)}" for key, value in settings.items())], size)

    assert figures(tmp_path / "two") == pytest.approx(figures(tmp_path / "one"), abs=2e-2)  # bfloat16 sums in another order
    assert {path.name for path in (tmp_path / "two" / "adapter").iterdir()} == {
        path.name for path in (tmp_path / "one" / "adapter").iterdir()
    }


REFUSED = {
    "one process, two started": ({"engine": "none"}, {}, 2, "the launcher started 2: they would train 2 equal models"),
    "three do not make a grid": ({"engine": "fsdp2", "tensor": 2}, {}, 3, "3 processes cannot be laid out as parallel.tensor 2"),
    "heads": (
        {"engine": "fsdp2", "tensor": 2},
        {"num_heads": 1},
        2,
        "parallel.tensor 2: does not divide the model's num_attention_heads 1",
    ),
    "one matrix": ({"engine": "fsdp2", "pipeline": 2}, {"tie_embeddings": True}, 2, "are one matrix (tie_embeddings)"),
    "few blocks": ({"engine": "fsdp2", "pipeline": 2}, {"num_layers": 1}, 2, "parallel.pipeline 2: the model has 1 blocks"),
    "no SMDDP": ({"engine": "ddp", "backend": "smddp"}, {}, 1, "SageMaker's data parallel library is not here"),
    "no NCCL": ({"engine": "ddp", "backend": "nccl"}, {}, 1, "parallel.backend nccl needs a CUDA device"),
    "no SMP": ({"engine": "smp"}, {}, 1, "SageMaker's model parallel library is not here"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_way_out(ranks: Ranks, text: str, tmp_path: Path, case: str) -> None:
    parallel, architecture, size, message = REFUSED[case]

    started = ranks.start(words(tmp_path / "run", text, parallel=parallel, architecture={**LLAMA, **architecture}), size)

    assert started.codes() == [2] * size
    assert message in started.log()
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "ddp", "zero_stage": 3}, "zero_stage goes with engine deepspeed, not with engine ddp"),
        ({"engine": "deepspeed", "tensor": 2, "pipeline": 2}, "tensor goes with engine fsdp2; pipeline goes with engine fsdp2"),
        ({"engine": "none", "offload": True}, "offload goes with engine deepspeed or fsdp2"),
        ({"engine": "ddp", "smp": {"hybrid_shard_degree": 8}}, "smp goes with engine smp"),
    ],
)
def test_a_setting_that_an_engine_does_not_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        ParallelConfig.model_validate(settings)


def test_the_world_is_what_the_launcher_says() -> None:
    place = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    torchrun = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8", **place}
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    mpi = {**{f"OMPI_COMM_WORLD_{name}": value for name, value in zip(names, ("9", "16", "1", "8"), strict=True)}, **place}

    assert world_of({}) == World()
    assert world_of(torchrun) == world_of(mpi) == World(9, 16, 1, 8, "10.0.0.1:29500")
    with pytest.raises(LlmopsError, match=r"RANK=9 is set without LOCAL_WORLD_SIZE; start the processes with torchrun or mpirun"):
        world_of({name: value for name, value in torchrun.items() if name != "LOCAL_WORLD_SIZE"})
