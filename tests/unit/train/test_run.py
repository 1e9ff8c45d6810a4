"""`llmops-train run` from scratch: what it writes, how it goes on after a stop, what it refuses."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
import torch

from llmops_shared.contracts import DatasetManifest, TrainingRun
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for
from llmops_train.checkpoint import Checkpoint, Progress
from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.data import Sequences, read_split
from llmops_train.loop import train
from llmops_train.loss import summed_loss
from llmops_train.model import load_tokenizer, new_model
from llmops_train.parallel.engine import Engine, make_engine
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.world import World
from llmops_train.run import run
from unit.train.tiny import tiny_settings


def settings(out: str, dataset: str, **more: object) -> TrainConfig:
    return TrainConfig.model_validate(tiny_settings(out=out, method="pretrain", dataset=dataset, **more))


def test_a_run_learns_and_names_what_it_wrote(root: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = join(root, "base")
    words = [f"{key}={json.dumps(value)}" for key, value in tiny_settings(method="pretrain").items()]

    assert main(["run", f"out={out}", f"dataset={text}", "max_steps=12", *words]) == 0

    document = read_document(out, TrainingRun)
    assert json.loads(capsys.readouterr().out) == json.loads(document.to_json())
    assert {part.path for part in document.weights} == {
        f"model/{name}"
        for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert all(exists(join(out, part.path)) for part in document.weights)
    assert (document.num_steps, document.parent, document.base_model) == (12, None, None)
    assert document.num_tokens > 12 * 4 * 40
    assert document.metrics["validation_loss"] < 5.2 < 5.76  # ln(320): what a model that knows nothing has
    assert not store_for(out).entries(join(out, "checkpoint"))


@pytest.mark.slow
def test_muon_learns_too(tmp_path: Path, text: str) -> None:
    muon = {"kind": "muon", "learning_rate": 0.01, "muon_learning_rate": 0.02}

    document = run(settings(str(tmp_path / "muon"), text, max_steps=12, optimizer=muon))

    assert document.metrics["validation_loss"] < 5.2


def test_a_finished_run_is_kept_and_other_settings_are_refused(pretrained: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = store_for(pretrained).read(f"{pretrained}/run.json")

    assert run(settings(pretrained, text, max_steps=30)).to_json() == before
    with pytest.raises(LlmopsError, match=r"made from other settings or inputs \(seed\)"):
        run(settings(pretrained, text, max_steps=30, seed=1))


def make(text: str, **more: object) -> tuple[Engine, Sequences, Sequences, TrainConfig]:
    """A fresh model in its engine and all that `train` wants."""
    config = settings("unused", text, max_steps=9, checkpoint_every_steps=2, log_every_steps=3, validate_every_steps=5, **more)
    model = new_model(config.architecture, load_tokenizer(Path(text) / "tokenizer"), seed=0)
    place, manifest = f"{text}/dataset.json", read_document(text, DatasetManifest)
    engine = make_engine(model, summed_loss, config, Mesh(World(), torch.device("cpu")))
    return engine, read_split(place, manifest, "train"), read_split(place, manifest, "validation"), config


class StoppedError(Exception):
    """What ends a run in the middle here."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(root: str, text: str, kind: Literal["adamw", "muon"]) -> None:
    optimizer = {"kind": kind, "learning_rate": 0.01}

    def train_all(checkpoint: Checkpoint, stop_at: int | None = None) -> tuple[list[tuple[int, dict[str, float]]], dict[str, torch.Tensor]]:
        engine, packed, validation, config = make(text, optimizer=optimizer)
        points = []

        def log(figures: dict[str, float], step: int) -> None:
            if step == stop_at:
                raise StoppedError
            points.append((step, {name: value for name, value in figures.items() if name != "tokens_per_second"}))

        train(engine, packed, validation, config, checkpoint, log)
        return points, engine.whole(lambda: None).state_dict()

    unbroken, weights = train_all(Checkpoint(join(root, "whole"), "request"))
    with pytest.raises(StoppedError):
        train_all(Checkpoint(join(root, "halved"), "request"), stop_at=6)
    resumed, resumed_weights = train_all(Checkpoint(join(root, "halved"), "request"))

    assert [step for step, _ in unbroken] == [3, 5, 6, 9]
    assert resumed == unbroken
    assert all(torch.equal(resumed_weights[name], tensor) for name, tensor in weights.items())


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, text: str) -> None:
    out = tmp_path / "stopped"
    engine, *_ = make(text)
    checkpoint = Checkpoint(str(out / "checkpoint"), "other request")
    checkpoint.save(engine.state(), Progress(step=3))
    checkpoint.finish()

    with pytest.raises(LlmopsError, match="belongs to a run with other settings"):
        run(settings(str(out), text, max_steps=4))


@pytest.mark.slow
def test_a_killed_process_goes_on_from_its_checkpoint(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "killed"
    config = settings(str(out), text, max_steps=60, checkpoint_every_steps=5)
    words = [f"{key}={json.dumps(value)}" for key, value in config.model_dump(exclude_none=True, exclude={"tracking"}).items()]
    process = subprocess.Popen([sys.executable, "-m", "llmops_train.cli", "run", *words])
    while not list((out / "checkpoint").glob("step-*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()

    assert not (out / "run.json").exists()
    assert main(["run", *words]) == 0

    told = capfd.readouterr().err
    assert "going on from" in told and "Setting accelerator" not in told  # DeepSpeed, which nobody uses here, is not loaded
    assert read_document(str(out), TrainingRun).num_steps == 60


def test_a_diverging_run_stops_with_its_step_and_the_way_out(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{key}={json.dumps(value)}" for key, value in tiny_settings(method="pretrain").items()]

    code = main(["run", f"out={tmp_path / 'wild'}", f"dataset={text}", "max_steps=40", *words, "optimizer.learning_rate=1.0e+18"])

    assert code == 2
    assert "so training has diverged; lower optimizer.learning_rate (now 1e+18)" in capsys.readouterr().err
    assert not (tmp_path / "wild" / "run.json").exists()


def test_a_chat_dataset_is_not_for_pretraining(tmp_path: Path, chat: str) -> None:
    with pytest.raises(LlmopsError, match="is a chat dataset, but method pretrain learns from a text dataset"):
        run(settings(str(tmp_path / "out"), chat, max_steps=1))


def test_sequences_longer_than_the_model_takes_are_refused(tmp_path: Path, text: str) -> None:
    small = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32}

    with pytest.raises(LlmopsError, match="takes 32 tokens, but the dataset's sequences have 64"):
        run(settings(str(tmp_path / "out"), text, max_steps=1, architecture=small))


def test_a_missing_dataset_and_an_unwritable_folder_are_named(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    words = [f"{key}={json.dumps(value)}" for key, value in tiny_settings(method="pretrain").items()]

    assert main(["run", f"out={tmp_path}/out", f"dataset={tmp_path}/none", "max_steps=1", *words]) == 2
    assert f"{tmp_path}/none/dataset.json: there is no such DatasetManifest" in capsys.readouterr().err
    assert main(["run", f"out={tmp_path}/file/out", f"dataset={text}", "max_steps=1", *words]) == 2
    assert f"{tmp_path}/file/out/request.json: cannot be written" in capsys.readouterr().err


def test_a_half_written_document_is_moved_aside_and_the_next_run_completes(tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text('{"schema_version": 1, "kind"')

    with pytest.raises(LlmopsError, match=r"half-written.*run the same command again"):
        run(settings(str(out), text, max_steps=1))
    assert run(settings(str(out), text, max_steps=1)).num_steps == 1


@pytest.mark.slow
def test_everything_is_tracked(tmp_path: Path, text: str, tracking_uri: str) -> None:
    from mlflow import MlflowClient

    document = run(settings(str(tmp_path / "out"), text, max_steps=4, validate_every_steps=2, tracking={"uri": tracking_uri}))

    client = MlflowClient(tracking_uri)
    tracked = client.get_run(document.mlflow_run_id)
    assert tracked.info.status == "FINISHED" and tracked.data.tags["llmops.stage"] == "train"
    assert tracked.data.params["optimizer.learning_rate"] == "0.01" and tracked.data.params["method"] == "pretrain"
    assert [point.step for point in client.get_metric_history(document.mlflow_run_id, "validation_loss")] == [2, 4]
    assert {"train_loss", "learning_rate", "tokens_per_second", "grad_norm"} < set(tracked.data.metrics)
    assert [item.dataset.name for item in tracked.inputs.dataset_inputs] == ["tiny-text"]
    assert [artifact.path for artifact in client.list_artifacts(document.mlflow_run_id)] == ["config.json", "examples.json", "run.json"]


@pytest.mark.slow
def test_training_goes_on_from_a_run(tmp_path: Path, pretrained: str, text: str) -> None:
    document = run(
        TrainConfig.model_validate(tiny_settings(out=str(tmp_path / "on"), method="pretrain", dataset=text, model=pretrained, max_steps=5))
    )

    first = read_document(pretrained, TrainingRun)
    assert document.parent is not None and document.parent.uri.endswith("base/run.json")
    assert document.metrics["validation_loss"] < first.metrics["validation_loss"]
