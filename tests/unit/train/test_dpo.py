"""`method: dpo`: pairs from a chat dataset's rows, the textbook's loss over packed pairs, a reference that never learns."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmops_shared.contracts import DatasetManifest, ModelPackage, TrainingRun
from llmops_shared.documents import read_document
from llmops_train.cli import main
from llmops_train.config import ArchitectureConfig, TrainConfig
from llmops_train.data import make_batch
from llmops_train.feed.sequences import Packed
from llmops_train.methods.adapters import add_adapter
from llmops_train.methods.objective import objective_of
from llmops_train.methods.pairs import open_pairs
from llmops_train.model import load_model, load_tokenizer, new_model, save_model
from llmops_train.source import identify, open_source
from unit.train.tiny import tiny_settings


def config_of(**more: object) -> TrainConfig:
    start = tiny_settings(out="unused", dataset="unused", model="base", method="dpo", max_steps=1)
    return TrainConfig.model_validate({**start, "dpo": {"beta": 0.3, "label_smoothing": 0.1}, **more})


def opened(preferences: str, text: str) -> Packed:
    manifest = read_document(preferences, DatasetManifest)
    return open_pairs(f"{preferences}/dataset.json", manifest, "train", load_tokenizer(Path(text) / "tokenizer"))


def moved(model: Any) -> Any:
    """The model after what could be some training."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def likelihood(model: Any, ids: np.ndarray, learnt: np.ndarray) -> float:
    """Log-likelihood of a conversation's answer, alone and from peft's or transformers' own forward pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids.astype(np.int64))[None]).logits[0, :-1].log_softmax(-1)
    each = logits.gather(1, torch.tensor(ids[1:].astype(np.int64))[:, None])[:, 0]
    return float(each[torch.tensor(learnt[1:] > 0)].sum())


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{"rank": 4}, None])
def test_the_loss_of_packed_pairs_is_the_textbooks_of_each_pair(
    lora: dict[str, int] | None, preferences: str, pretrained: str, text: str
) -> None:
    packed, config = opened(preferences, text), config_of(lora=lora)
    files = open_source(identify(pretrained))
    base, model = load_model(files), add_adapter(load_model(files), config, Path(text) / "tokenizer")
    objective = objective_of(config, model)
    batch = make_batch(packed, np.arange(3))
    start, count = objective.loss(model, batch, config)
    assert start.item() == pytest.approx(count * math.log(2), rel=1e-5)  # the model is its own reference

    found, count = objective.loss(moved(model), batch, config)

    expected, seen = 0.0, 0
    for row in range(3):
        numbers = packed.document_ids[row]
        for chosen in range(1, int(numbers.max()), 2):
            gains = []
            for document in (chosen, chosen + 1):
                ids, learnt = packed.input_ids[row][numbers == document], packed.loss_mask[row][numbers == document]  # type: ignore[index]
                gains.append(likelihood(model, ids, learnt) - likelihood(base, ids, learnt))
            margin = 0.3 * (gains[0] - gains[1])
            expected += 0.9 * math.log1p(math.exp(-margin)) + 0.1 * math.log1p(math.exp(margin))
            seen += 1
    assert count == seen == objective.count(batch) >= 3
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert 0 <= objective.figures(list)["preference_accuracy"] <= 1


def test_pairs_are_whole_and_chosen_comes_first(preferences: str, text: str) -> None:
    packed, tokenizer = opened(preferences, text), load_tokenizer(Path(text) / "tokenizer")

    shown = []
    for ids, numbers in zip(packed.input_ids, packed.document_ids, strict=True):
        assert int(numbers.max()) % 2 == 0
        for number in range(1, int(numbers.max()), 2):
            chosen, rejected = (tokenizer.decode(ids[numbers == document]) for document in (number, number + 1))
            assert rejected.endswith("No idea.<|endoftext|>") and "No idea" not in chosen
            assert chosen.split("<|assistant|>")[0] == rejected.split("<|assistant|>")[0]
            shown.append(chosen)
    assert len(shown) == len(set(shown)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"lora": {"rank": 4}}, {}, {"lora": {"rank": 4}, "quantization": {}}])
def test_the_model_comes_to_prefer_what_was_chosen(adapter: dict[str, Any], tmp_path: Path, preferences: str, fluent: str) -> None:
    given = tiny_settings(method="dpo", max_steps=30, optimizer={"learning_rate": 0.01}, dpo={"beta": 0.2}, **adapter)
    words = [f"{key}={json.dumps(value)}" for key, value in given.items()]

    assert main(["run", f"out={tmp_path}/run", f"dataset={preferences}", f"model={fluent}", *words]) == 0
    assert main(["package", f"run={tmp_path}/run", f"out={tmp_path}/package", "acceptance_prompts=3"]) == 0

    document = read_document(str(tmp_path / "run"), TrainingRun)
    assert document.metrics["validation_loss"] < 0.2 < math.log(2)
    assert document.metrics["preference_accuracy"] > 0.9
    assert {part.path.split("/")[0] for part in document.weights} == {"adapter" if adapter else "model"}
    assert read_document(str(tmp_path / "package"), ModelPackage).layout == "merged"


def test_a_dataset_without_pairs_is_refused(tmp_path: Path, chat: str, pretrained: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{key}={json.dumps(value)}" for key, value in tiny_settings(method="dpo", max_steps=1).items()]

    assert main(["run", f"out={tmp_path}/run", f"dataset={chat}", f"model={pretrained}", *words]) == 2
    said = capsys.readouterr().err
    assert "has no preference pairs (120 without a rejected answer); method dpo learns from rows with `rejected`" in said


@pytest.mark.slow
def test_preferences_of_people_as_preprocess_writes_them(tmp_path: Path, test_data: Path) -> None:
    from llmops_preprocess.cli import main as preprocess

    source = {"kind": "files", "uri": str(test_data / "preference-hh-harmless"), "include": ["*.gz"], "licence": "MIT"}
    given = {"view": "chat", "source": source, "vocab_size": 512, "sequence_length": 768, "name": "preferences"}
    words = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    assert preprocess(["run", f"out={tmp_path}/chat", *words]) == 0
    tokenizer = load_tokenizer(tmp_path / "chat" / "tokenizer")
    small = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_position_embeddings": 768}
    save_model(new_model(ArchitectureConfig.model_validate(small), tokenizer, 0), tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    given = {"method": "dpo", "max_steps": 3, "batch_sequences": 1, "num_threads": 1, "name": "people"}
    words = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    assert main(["run", f"out={tmp_path}/run", f"dataset={tmp_path}/chat", f"model={tmp_path}/model", *words]) == 0

    figures = read_document(str(tmp_path / "run"), TrainingRun).metrics
    assert figures["validation_loss"] == pytest.approx(math.log(2), abs=0.05)  # three steps of a tiny model change little
