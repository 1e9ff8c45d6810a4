"""Every method that only whole copies can train: two processes have the losses of one."""

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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

METHODS: dict[str, dict[str, Any]] = {
    "prompt_tuning": {"prompt_tuning": {"num_virtual_tokens": 5}},
    "prefix_tuning": {"prefix_tuning": {"num_virtual_tokens": 5, "initial": "random"}},
    "llama_adapter": {"llama_adapter": {"num_virtual_tokens": 5}},
    "qlora": {"lora": {"rank": 4}},
    "dpo": {},
    "dpo with lora": {"lora": {"rank": 4}},
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    started = Ranks(tmp_path_factory.mktemp("ranks"), ["peft", "llmops_train.methods.adapters", "llmops_train.methods.quantized"])
    yield started
    started.close()


def figures(out: Path) -> dict[str, float]:
    document = read_document(str(out), TrainingRun)
    return {name: value for name, value in document.metrics.items() if name.startswith(("train_loss", "validation_loss", "preference"))}


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_losses_of_one(
    ranks: Ranks, chat: str, preferences: str, pretrained: str, tmp_path: Path, name: str
) -> None:
    method = name.partition(" ")[0]
    dataset = preferences if method == "dpo" else chat
    more = {"model": pretrained, "max_steps": 4, "optimizer": {"learning_rate": 0.03 if method != "dpo" else 0.003}}
    settings = tiny_settings(method=method, dataset=dataset, **more, **METHODS[name])
    words = ["run", *(f"{key}={json.dumps(value)}" for key, value in settings.items())]

    assert main([*words, f"out={tmp_path}/1"]) == 0
    ranks.run([*words, f"out={tmp_path}/2", "parallel.engine=ddp"], 2)

    alone, together = figures(tmp_path / "1"), figures(tmp_path / "2")
    assert together == pytest.approx(alone, abs=1e-5) and {"train_loss", "validation_loss"} <= set(alone)
    layout = json.loads((tmp_path / "2" / "parallel.json").read_text())
    assert (layout["module"], layout["data"]) == ("DistributedDataParallel", 2)
