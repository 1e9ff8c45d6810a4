"""`llmops-train package`: what a server gets, tested before it is declared complete."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmops_shared.contracts import ModelPackage, TrainingRun
from llmops_shared.documents import read_document, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for
from llmops_train.acceptance import accept
from llmops_train.config import PackageConfig
from llmops_train.evaluate import evaluate
from llmops_train.evaluation.config import EvaluateConfig
from llmops_train.model import load_model, load_tokenizer
from llmops_train.package import package
from llmops_train.source import ModelFiles, identify, open_source

PROMPT = [{"role": "user", "content": "What does chain_0 do?"}]


def settings(out: str, run: str, **more: object) -> PackageConfig:
    return PackageConfig.model_validate({"out": out, "run": run, "acceptance_prompts": 3, "acceptance_tokens": 8, **more})


def test_a_merged_package_is_one_directory_that_answers_as_base_and_adapter_do(root: str, tuned: str) -> None:
    document = package(settings(join(root, "package"), tuned))

    assert read_document(join(root, "package"), ModelPackage) == document
    assert {part.path for part in document.files} == {
        f"model/{name}"
        for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert (document.layout, document.architecture, document.max_context_tokens, document.dtype) == (
        "merged",
        "LlamaForCausalLM",
        128,
        "float32",
    )
    folder = store_for(root).fetch(join(root, "package", "model"))
    served = AutoModelForCausalLM.from_pretrained(folder)
    trained = load_model(open_source(identify(tuned)))
    ids = torch.arange(5, 40)[None]
    torch.testing.assert_close(served(input_ids=ids).logits, trained(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert served.generation_config.eos_token_id == tokenizer.eos_token_id == 0
    assert tokenizer.apply_chat_template(PROMPT, tokenize=False) == "<|user|>What does chain_0 do?"
    assert document.num_parameters == served.num_parameters()


@pytest.mark.slow
def test_base_and_adapter_stay_apart_if_asked(tmp_path: Path, pretrained: str, tuned: str) -> None:
    document = package(settings(str(tmp_path / "package"), tuned, layout="adapter"))

    assert {part.path for part in document.files if part.path.startswith("adapter/")} == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    assert (tmp_path / "package/model/model.safetensors").read_bytes() == (Path(pretrained) / "model/model.safetensors").read_bytes()
    merged, apart = load_model(open_source(identify(tuned))), load_model(open_source(identify(str(tmp_path / "package"))))
    assert torch.equal(merged.lm_head.weight, apart.lm_head.weight)


def test_a_full_model_is_packaged_as_it_is(tmp_path: Path, pretrained: str) -> None:
    document = package(settings(str(tmp_path / "package"), pretrained))

    assert document.num_parameters == read_document(pretrained, TrainingRun).num_parameters
    assert (tmp_path / "package/model/model.safetensors").read_bytes() == (Path(pretrained) / "model/model.safetensors").read_bytes()
    with pytest.raises(LlmopsError, match="method pretrain makes no adapter; use layout=merged"):
        package(settings(str(tmp_path / "other"), pretrained, layout="adapter"))


@pytest.mark.slow
def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, pretrained: str, tuned: str) -> None:
    from safetensors.torch import load_file, save_file

    from llmops_shared.documents import describe

    lazy = tmp_path / "lazy"
    shutil.copytree(tuned, lazy)
    shutil.copytree(pretrained, tmp_path / "base")
    path = lazy / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor * ("lora_A" in name) for name, tensor in load_file(path).items()}, path)
    run = read_document(tuned, TrainingRun)
    dataset = run.dataset.model_copy(update={"uri": str(Path(tuned, run.dataset.uri).resolve())})
    weights = [describe(lazy / part.path, part.path) for part in run.weights]
    write_document(str(lazy), run.model_copy(update={"dataset": dataset, "weights": weights}))

    with pytest.raises(LlmopsError, match="its adapter changes nothing"):
        package(settings(str(tmp_path / "package"), str(lazy)))
    assert not exists(str(tmp_path / "package" / "package.json"))


def test_a_package_that_answers_otherwise_is_not_accepted(pretrained: str, tuned: str) -> None:
    base = open_source(identify(pretrained))

    with pytest.raises(LlmopsError, match="gives other answers than the trained one for 1 of 1 prompts"):
        accept(open_source(identify(tuned)), ModelFiles(base.folder, (), base.tokenizer), [PROMPT], 8)


def test_damaged_weights_are_named(tmp_path: Path, pretrained: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(pretrained, run)
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    with pytest.raises(LlmopsError, match="model.safetensors: is damaged"):
        package(settings(str(tmp_path / "package"), str(run)))


@pytest.mark.slow
def test_only_the_evaluation_of_this_run_goes_with_it(tmp_path: Path, pretrained: str, tuned: str, chat: str) -> None:
    report = str(tmp_path / "evaluation")
    evaluate(EvaluateConfig(out=report, run=tuned, dataset=chat, measures=["perplexity"]))

    document = package(settings(str(tmp_path / "package"), tuned, evaluation=report))

    assert document.evaluation is not None and document.evaluation.uri == "../evaluation/report.json"
    with pytest.raises(LlmopsError, match="is no evaluation of this run"):
        package(settings(str(tmp_path / "other"), pretrained, evaluation=report))


@pytest.mark.slow
def test_a_package_enters_the_registry_as_challenger(tmp_path: Path, tuned: str, tracking_uri: str) -> None:
    from mlflow import MlflowClient

    document = package(settings(str(tmp_path / "package"), tuned, registered_model="assistant", tracking={"uri": tracking_uri}))

    version = MlflowClient(tracking_uri).get_model_version_by_alias("assistant", "challenger")
    assert document.registered_model is not None and document.registered_model.version == str(version.version)
    assert version.source == str(tmp_path / "package")
    assert version.tags["method"] == "lora" and len(version.tags["weights_sha256"]) == 64
    with pytest.raises(LlmopsError, match="there is no registry to enter it in; set tracking.uri or MLFLOW_TRACKING_URI"):
        package(settings(str(tmp_path / "other"), tuned, registered_model="assistant"))


@pytest.mark.slow
def test_a_finished_package_is_kept(tmp_path: Path, tuned: str) -> None:
    config = settings(str(tmp_path / "package"), tuned)

    assert package(config) == package(config)
    with pytest.raises(LlmopsError, match="other settings or inputs"):
        package(config.model_copy(update={"acceptance_tokens": 9}))


@pytest.mark.slow
def test_generation_stops_at_the_end_the_answers_were_learnt_with(tmp_path: Path, chat: str, pretrained: str) -> None:
    from unit.train.tiny import train_tiny

    outside = tmp_path / "outside"
    shutil.copytree(Path(pretrained) / "model", outside)
    settings_path = outside / "generation_config.json"
    settings_path.write_text(json.dumps({**json.loads(settings_path.read_text()), "eos_token_id": 7}))
    tuned = train_tiny(str(tmp_path / "tuned"), method="lora", lora={"rank": 2}, dataset=chat, model=str(outside), max_steps=2)

    package(settings(str(tmp_path / "package"), tuned, layout="adapter"))

    written = json.loads((tmp_path / "package/model/generation_config.json").read_text())
    assert written["eos_token_id"] == load_tokenizer(tmp_path / "package/model").eos_token_id
