"""Every method of `llmops-train run`: packed documents do not see each other, what it trains, how it is packaged and answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmops_shared.contracts import DatasetManifest, ModelPackage, TrainingRun
from llmops_shared.documents import read_document
from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.data import make_batch, read_split
from llmops_train.feed.sequences import Packed
from llmops_train.loss import summed_loss
from llmops_train.methods.adapters import add_adapter
from llmops_train.model import load_model, load_tokenizer
from llmops_train.source import identify, open_source
from unit.train.tiny import tiny_settings

SECTIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": {"rank": 4}},
    "qlora": {"lora": {"rank": 4}},
    "prompt_tuning": {"prompt_tuning": {"num_virtual_tokens": 5}},
    "prefix_tuning": {"prefix_tuning": {"num_virtual_tokens": 5, "initial": "random"}},
    "llama_adapter": {"llama_adapter": {"num_virtual_tokens": 5}},
}
# peft asks transformers for the old name when the engine puts the adapter on
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

UNMERGEABLE = ["prompt_tuning", "prefix_tuning", "llama_adapter"]


def words(out: str, chat: str, model: str, **more: object) -> list[str]:
    """The command line of a small run."""
    settings = tiny_settings(**{"optimizer": {"learning_rate": 0.03}, **more})
    return ["run", f"out={out}", f"dataset={chat}", f"model={model}", *(f"{key}={json.dumps(value)}" for key, value in settings.items())]


def config_of(method: str, **more: object) -> TrainConfig:
    return TrainConfig.model_validate(
        tiny_settings(out="unused", dataset="unused", model="base", method=method, max_steps=1, **SECTIONS[method], **more)
    )


def prepared(method: str, pretrained: str, text: str, **more: object) -> tuple[Any, TrainConfig]:
    """A model whose adapter says something."""
    from llmops_train.methods.start import load_base

    config = config_of(method, **more)
    model = add_adapter(load_base(config, open_source(identify(pretrained))), config, Path(text) / "tokenizer")
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and config.adapter:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model, config


def documents(seed: int, vocabulary: int, lengths: list[list[int]], length: int) -> Packed:
    """Packed sequences of random documents; of each, the second half is the answer."""
    random = np.random.default_rng(seed)
    shape = (len(lengths), length)
    packed = Packed(np.zeros(shape, np.uint16), np.zeros(shape, np.uint16), np.zeros(shape, np.uint8))
    assert packed.loss_mask is not None
    for row, sizes in enumerate(lengths):
        place = 0
        for number, size in enumerate(sizes, start=1):
            span = slice(place, place + size)
            packed.input_ids[row, span] = random.integers(5, vocabulary, size)
            packed.document_ids[row, span] = number
            packed.loss_mask[row, place + size // 2 : place + size] = 1
            place += size
    return packed


def alone(packed: Packed) -> list[Packed]:
    """Each document as a sequence of its own, without padding."""
    assert packed.loss_mask is not None
    found = []
    for ids, numbers, learnt in zip(packed.input_ids, packed.document_ids, packed.loss_mask, strict=True):
        for number in range(1, int(numbers.max()) + 1):
            mine = numbers == number
            found.append(Packed(ids[mine][None], np.ones((1, int(mine.sum())), np.uint16), learnt[mine][None]))
    return found


@pytest.mark.parametrize("method", SECTIONS)
def test_packed_documents_have_the_loss_each_has_alone(method: str, pretrained: str, text: str) -> None:
    model, config = prepared(method, pretrained, text)
    packed = documents(3, 320, [[9, 20, 14], [31, 5], [17, 11, 3, 8]], length=48)

    together, count = summed_loss(model, make_batch(packed, np.arange(3)), config)
    together.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    apart = [summed_loss(model, make_batch(one, np.arange(1)), config) for one in alone(packed)]
    torch.stack([loss for loss, _ in apart]).sum().backward()

    assert count == sum(number for _, number in apart) > 40
    assert together.item() == pytest.approx(sum(loss.item() for loss, _ in apart), rel=1e-5)
    for packed_gradient, parameter in zip(gradients, (p for p in model.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(packed_gradient, parameter.grad, atol=2e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in SECTIONS if name != "full"])
def test_the_packed_loss_is_that_of_pefts_own_forward_pass(method: str, pretrained: str, text: str) -> None:
    model, config = prepared(method, pretrained, text)
    packed = documents(5, 320, [[13, 20, 14], [17, 11, 3, 8]], length=48)
    ours, _ = summed_loss(model, make_batch(packed, np.arange(2)), config)

    theirs = 0.0
    for one in alone(packed):
        batch = make_batch(one, np.arange(1))
        logits = model(input_ids=batch.input_ids, attention_mask=torch.ones_like(batch.input_ids)).logits[0, -batch.input_ids.shape[1] :]
        theirs += torch.nn.functional.cross_entropy(logits, batch.labels[0], ignore_index=-100, reduction="sum").item()

    assert ours.item() == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_a_frozen_base_in_bfloat16_computes_the_same_numbers(method: str, pretrained: str, text: str) -> None:
    from llmops_train.methods.adapters import thin

    packed = documents(3, 320, [[9, 20, 14]], length=48)
    wide, config = prepared(method, pretrained, text)
    config = config.model_copy(update={"dtype": "bfloat16"})
    before, _ = summed_loss(wide, make_batch(packed, np.arange(1)), config)

    thin(wide)

    assert any(parameter.dtype == torch.bfloat16 for parameter in wide.parameters())
    assert summed_loss(wide, make_batch(packed, np.arange(1)), config)[0].item() == before.item()


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in SECTIONS if name != "full"])
def test_a_method_learns_is_packaged_and_answers_from_the_engine(method: str, tmp_path: Path, chat: str, pretrained: str) -> None:
    run, place = str(tmp_path / "run"), str(tmp_path / "package")
    manifest, base = read_document(chat, DatasetManifest), load_model(open_source(identify(pretrained)))
    split = read_split(f"{chat}/dataset.json", manifest, "validation")
    loss, count = summed_loss(base, make_batch(split, np.arange(len(split))), config_of("full"))

    assert main(words(run, chat, pretrained, method=method, max_steps=25, validate_every_steps=10, **SECTIONS[method])) == 0
    package = ["package", f"run={run}", f"out={place}", "layout=adapter", "acceptance_prompts=6", "acceptance_tokens=12"]
    assert main(package) == 0

    trained, packaged = read_document(run, TrainingRun), read_document(place, ModelPackage)
    assert trained.method == method and trained.metrics["validation_loss"] < 0.97 * loss.item() / count
    assert {part.path.split("/")[0] for part in trained.weights} == {"adapter"}
    assert packaged.mergeable == (method not in UNMERGEABLE)
    virtual = 5 if method in ("prompt_tuning", "prefix_tuning") else 0
    assert packaged.max_context_tokens == 128 - virtual
    assert served(Path(place)) == trained_answers(run)


def trained_answers(run: str) -> list[list[int]]:
    """Greedy answers of the trained model, one prompt at a time."""
    from llmops_train.evaluation.generation import answer

    files = open_source(identify(run))
    tokenizer = load_tokenizer(files.tokenizer)
    return [answer(load_model(files).eval(), tokenizer, [prompt], 8, 1).ids[0] for prompt in prompts(tokenizer)]


def prompts(tokenizer: Any) -> list[list[int]]:
    asked = ["What does chain_0 do?", "What is the signature of sleep_3?", "What does path_4 raise?"]
    return [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False) for text in asked
    ]


def served(place: Path) -> list[list[int]]:
    """What the serving engine answers from the package, all prompts at the same time."""
    from llmops_serve.engines.batches import Batches
    from llmops_serve.engines.engine import Sampling
    from llmops_serve.engines.load import load_model as load_served
    from llmops_serve.engines.messages import WorkerSettings
    from llmops_serve.engines.row import Row

    tokenizer = load_tokenizer(place / "model")
    settings = WorkerSettings(place / "model", place / "adapter", threads=1, max_batch_size=4, max_total_tokens=96, adapters={})
    rows = [Row(prompt, Sampling(max_new_tokens=8)) for prompt in prompts(tokenizer)]
    with torch.no_grad():
        batches = Batches(settings, load_served(place / "model"))
        for row in rows:
            batches.join(row)
        while any(row.num_new_tokens < 8 for row in rows):
            batches.leave([row for row, _ in batches.step() if row.num_new_tokens >= 8])
    answers = [row.token_ids[len(row.prompt_ids) :][:8] for row in rows]
    end = tokenizer.eos_token_id
    return [ids[: ids.index(end)] if end in ids else ids for ids in answers]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora"}, "method qlora needs `lora: {rank: ..., alpha: ...}`"),
        ({"method": "prompt_tuning", "lora": {"rank": 2}}, "method prompt_tuning needs `prompt_tuning:"),
        ({"method": "full", "prompt_tuning": {}}, "prompt_tuning describes an adapter, which method full does not have"),
        ({"method": "lora", "lora": {"rank": 2}, "dpo": {}}, "dpo describes preference tuning, which method lora does not have"),
        ({"method": "dpo", "quantization": {}}, "quantization holds the base of an adapter in 4 bits: add `lora:"),
        ({"method": "prefix_tuning", "prefix_tuning": {}, "gradient_checkpointing": True}, "drops the keys and values"),
        ({"method": "prompt_tuning", "prompt_tuning": {}, "parallel": {"engine": "fsdp2"}}, "cannot split; use ddp"),
        ({"method": "qlora", "lora": {}, "parallel": {"engine": "deepspeed"}}, "a base in 4 bits cannot be split"),
        ({"method": "llama_adapter", "llama_adapter": {}, "optimizer": {"kind": "muon"}}, "muon is for weight matrices"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"{key}={json.dumps(value)}" for key, value in settings.items()]

    assert main(["run", "out=o", "dataset=d", "model=m", "name=n", "max_steps=1", "--dry-run", *given]) == 2
    assert message in capsys.readouterr().err
