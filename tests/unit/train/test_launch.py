"""`launch: {processes: N}`: one command starts them all, and starts them again."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import read_document
from llmops_train.checkpoint.names import complete_ones
from llmops_train.cli import main
from unit.train.tiny import tiny_settings, train_tiny


def start(tmp_path: Path, **settings: Any) -> "subprocess.Popen[str]":
    """The command with two processes."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(tiny_settings(method="pretrain", parallel={"engine": "ddp"}, launch={"processes": 2}, **settings)))
    command = [sys.executable, "-m", "llmops_train.cli", "run", "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Until a run has completed its first checkpoint."""
    last = time.monotonic() + 200
    while not complete_ones(str(folder)):
        assert time.monotonic() < last
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_process_is_started_again_and_the_run_is_the_same(text: str, tmp_path: Path) -> None:
    steps = {"max_steps": 60, "checkpoint_every_steps": 5}
    process = start(tmp_path, dataset=text, out=str(tmp_path / "run"), **steps)

    wait_for_checkpoint(process, tmp_path / "run" / "checkpoint")
    psutil.Process(process.pid).children()[1].send_signal(signal.SIGKILL)
    out, log = process.communicate(timeout=240)

    alone = train_tiny(str(tmp_path / "alone"), method="pretrain", dataset=text, **steps)
    run = TrainingRun.model_validate_json(out)  # and nothing else is on stdout
    assert process.returncode == 0
    assert "ended with signal SIGKILL; starting all again (1 of 3)" in log
    assert "going on from" in log
    assert run.metrics["train_loss"] == pytest.approx(read_document(alone, TrainingRun).metrics["train_loss"], abs=1e-3)


@pytest.mark.slow
def test_sigterm_ends_all_processes_with_a_checkpoint_and_no_document(text: str, tmp_path: Path) -> None:
    process = start(tmp_path, dataset=text, out=str(tmp_path / "run"), max_steps=100_000, checkpoint_every_steps=20)

    wait_for_checkpoint(process, tmp_path / "run" / "checkpoint")
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=240)

    assert process.returncode == 0
    assert out == ""
    assert "interrupted after step" in log
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_what_the_user_must_mend_is_not_tried_again(tmp_path: Path) -> None:
    process = start(tmp_path, dataset="/no/such/dataset", out=str(tmp_path / "run"), max_steps=1)

    out, log = process.communicate(timeout=240)

    assert process.returncode == 2
    assert out == ""
    assert "/no/such/dataset/dataset.json: there is no such DatasetManifest" in log
    # the last line, which SageMaker shows; either process may be the first to end
    said = "/no/such/dataset/dataset.json: there is no such DatasetManifest; run the stage that writes it, or correct the path"
    assert re.fullmatch(f"llmops-train run: process [01]: {re.escape(said)}", log.splitlines()[-1])
    assert "starting all again" not in log


def test_a_dry_run_says_what_would_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=x", "method=full", "model=m", "dataset=d", "out=o", "max_steps=1", "launch.processes=3"]

    assert main(["run", "--dry-run", *words]) == 0

    assert json.loads(capsys.readouterr().out)["plan"]["launch"]["processes"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch.nodes=2"], "several nodes need rendezvous"),
        (["launch.node=1"], "node 1 of 1: they count from 0"),
        (["launch.launcher=sagemaker"], "launcher sagemaker needs `sagemaker"),
        (["launch.launcher=sagemaker", "launch.sagemaker.platform=p", "launch.rendezvous=a:1"], "are for launcher local"),
    ],
)
def test_settings_that_cannot_be_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["name=x", "method=full", "model=m", "dataset=d", "out=o", "max_steps=1"]

    assert main(["run", *start, *words]) == 2

    assert message in capsys.readouterr().err
