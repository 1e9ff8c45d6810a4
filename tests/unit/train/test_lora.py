"""`llmops-train run` with a model to start from: adapters, full tuning, outside models."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import read_document, store_part
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join
from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.model import load_model
from llmops_train.run import run
from llmops_train.source import identify, open_source
from unit.train.tiny import TEMPLATE, questions, tiny_settings, write_dataset


def settings(out: str, chat: str, model: str, **more: object) -> TrainConfig:
    return TrainConfig.model_validate(
        tiny_settings(out=out, **{"method": "lora", "lora": {"rank": 4}, "max_steps": 2, **more}, dataset=chat, model=model)
    )


def test_an_adapter_learns_and_leaves_its_base_alone(pretrained: str, tuned: str) -> None:
    base, document = read_document(pretrained, TrainingRun), read_document(tuned, TrainingRun)

    assert {part.path for part in document.weights} == {
        f"adapter/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert document.parent is not None and document.parent.uri == "../base/run.json"
    assert document.num_trainable_parameters < document.num_parameters / 2
    assert document.num_parameters == base.num_parameters + document.num_trainable_parameters
    assert document.metrics["validation_loss"] < 4.5 < 5.76  # ln(320): what a model that knows nothing has


@pytest.mark.slow
def test_equal_settings_give_equal_adapters(tmp_path: Path, chat: str, pretrained: str) -> None:
    dropout = {"rank": 4, "dropout": 0.1}

    one, two = (run(settings(str(tmp_path / name), chat, pretrained, lora=dropout)) for name in ("one", "two"))

    assert one.weights == two.weights


@pytest.mark.slow
def test_an_adapter_over_an_adapter_stands_on_both(tmp_path: Path, chat: str, tuned: str) -> None:
    document = run(settings(str(tmp_path / "second"), chat, tuned, optimizer={"learning_rate": 1e-6}))

    files = open_source(identify(str(tmp_path / "second")))
    assert [path.parent.name for path in files.adapters] == ["tuned", "second"]
    before = read_document(tuned, TrainingRun).metrics["validation_loss"]
    assert document.metrics["validation_loss"] == pytest.approx(before, abs=0.01)  # almost no rate, so almost no change


@pytest.mark.slow
def test_full_tuning_moves_every_weight_of_what_it_started_from(tmp_path: Path, chat: str, tuned: str, fluent: str) -> None:
    document = run(settings(str(tmp_path / "full"), chat, tuned, method="full", lora=None, optimizer={"learning_rate": 1e-6}))

    assert document.num_trainable_parameters == document.num_parameters
    before = read_document(tuned, TrainingRun).metrics["validation_loss"]
    assert document.metrics["validation_loss"] == pytest.approx(before, abs=0.01)  # almost no rate, so almost no change
    assert read_document(fluent, TrainingRun).metrics["validation_loss"] < 1.5


@pytest.mark.slow
def test_a_model_directory_or_an_s3_prefix_replaces_the_base_by_one_line(root: str, chat: str, pretrained: str) -> None:
    model = join(root, "outside")
    for path in (Path(pretrained) / "model").iterdir():
        store_part(model, path.name, path.read_bytes())

    document = run(settings(join(root, "tuned"), chat, model))

    assert document.parent is None
    assert document.base_model is not None and document.base_model.uri == model
    wanted, found = load_model(open_source(identify(pretrained))), open_source(identify(join(root, "tuned")))
    assert torch.equal(load_model(open_source(identify(model))).lm_head.weight, wanted.lm_head.weight)
    assert len(found.adapters) == 1


@pytest.mark.slow
def test_an_outside_model_that_changed_is_named(tmp_path: Path, chat: str, pretrained: str) -> None:
    model = tmp_path / "outside"
    shutil.copytree(Path(pretrained) / "model", model)
    run(settings(str(tmp_path / "tuned"), chat, str(model)))
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")

    with pytest.raises(LlmopsError, match=f"{model}: is not the model that .*tuned/run.json was trained on"):
        open_source(identify(str(tmp_path / "tuned")))


def test_a_model_with_pickled_weights_is_refused(tmp_path: Path, chat: str, pretrained: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "pickled"
    shutil.copytree(Path(pretrained) / "model", model)
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    words = [f"{key}={json.dumps(value)}" for key, value in tiny_settings(method="lora", lora={"rank": 4}, max_steps=1).items()]

    assert main(["run", f"out={tmp_path}/out", f"dataset={chat}", f"model={model}", *words]) == 2
    assert f"{model}: has no *.safetensors (has pytorch_model.bin); other weight files can run code" in capsys.readouterr().err


def test_code_of_a_model_repository_never_runs(tmp_path: Path, chat: str, pretrained: str) -> None:
    model = tmp_path / "with-code"
    shutil.copytree(Path(pretrained) / "model", model)
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(LlmopsError, match="does not load as a causal language model"):
        run(settings(str(tmp_path / "out"), chat, str(model)))
    assert not (tmp_path / "ran").exists()


def test_a_text_dataset_is_not_for_tuning(tmp_path: Path, text: str, pretrained: str) -> None:
    with pytest.raises(LlmopsError, match="is a text dataset, but method lora learns from a chat dataset"):
        run(settings(str(tmp_path / "out"), text, pretrained))


@pytest.mark.slow
def test_a_dataset_of_another_tokenizer_is_refused(tmp_path: Path, pretrained: str) -> None:
    from unit.train.tiny import train_tokenizer

    splits = {"train": questions(20), "validation": questions(5, 20)}
    larger = train_tokenizer([row.messages[1].content for row in questions(200)], tmp_path / "larger", vocab_size=400)
    other = train_tokenizer(["zebra quartz " * 9], tmp_path / "other", vocab_size=270)

    with pytest.raises(LlmopsError, match=r"has 320 embeddings, but the dataset's vocabulary has \d+ tokens; preprocess the dataset with"):
        run(settings(str(tmp_path / "one"), write_dataset(str(tmp_path / "a"), "chat", splits, larger), pretrained))
    with pytest.raises(LlmopsError, match="its tokenizer is not the dataset's"):
        run(settings(str(tmp_path / "two"), write_dataset(str(tmp_path / "b"), "chat", splits, other), pretrained))


@pytest.mark.slow
def test_a_real_model_is_tuned_with_its_own_tokenizer(tmp_path: Path, test_data: Path) -> None:
    model = test_data / "model-stories260k"
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    shutil.copyfile(model / "tokenizer.json", tokenizer / "tokenizer.json")
    named = json.loads((model / "tokenizer_config.json").read_text())
    template = TEMPLATE.replace("<|endoftext|>", "</s>").replace("<|{{ message.role }}|>", "{{ message.role }}: ")
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({**named, "chat_template": template.replace("<|assistant|>", "assistant: ")})
    )
    splits = {"train": questions(90), "validation": questions(15, 90), "test": questions(15, 105)}
    chat = write_dataset(str(tmp_path / "chat"), "chat", splits, tokenizer, sequence_length=128)

    document = run(settings(str(tmp_path / "tuned"), chat, str(model), max_steps=25))

    assert document.base_model is not None and document.base_model.uri == str(model)
    assert document.num_parameters - document.num_trainable_parameters == 260032
    assert document.metrics["validation_loss"] < 2.0
