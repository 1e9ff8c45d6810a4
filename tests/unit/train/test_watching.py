"""What is seen of a run: a bar on a terminal, lines elsewhere, and in MLflow figures, settings, code, machine and examples."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.run import run
from llmops_train.watching.code import code_digest
from llmops_train.watching.meter import Meter
from llmops_train.watching.peak import matmul_rate
from unit.train.tiny import tiny_settings


@pytest.mark.slow
def test_a_run_is_in_mlflow_with_figures_settings_code_machine_and_examples(
    tmp_path: Path, chat: str, fluent: str, tracking_uri: str
) -> None:
    from mlflow import MlflowClient

    given = tiny_settings(method="lora", lora={"rank": 4}, dataset=chat, model=fluent, max_steps=6, validate_every_steps=3)
    config = TrainConfig.model_validate({**given, "out": str(tmp_path / "out"), "tracking": {"uri": tracking_uri}, "examples": 2})

    document = run(config)

    assert document is not None and document.mlflow_run_id is not None
    client, number = MlflowClient(tracking_uri), document.mlflow_run_id
    told = client.get_run(number).data
    figures = {"train_loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "memory_mib", "padding_share", "validation_loss"}
    assert figures | {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(told.metrics)
    assert [point.step for point in client.get_metric_history(number, "mfu")] == [1, 2, 3, 4, 5, 6]
    assert 0 < told.metrics["mfu"] < 1 and 100 < told.metrics["memory_mib"] < 100_000
    steps, rows, length = 6, 4, 64
    padding = [point.value for point in client.get_metric_history(number, "padding_share")]
    assert sum(padding) / steps == pytest.approx(1 - document.num_tokens / (steps * rows * length))
    assert told.params["code_sha256"] == code_digest() and told.params["lora.rank"] == "4"
    resolved = json.loads(Path(client.download_artifacts(number, "config.json", str(tmp_path))).read_text())
    assert TrainConfig.model_validate(resolved) == config
    table = json.loads(Path(client.download_artifacts(number, "examples.json", str(tmp_path))).read_text())
    assert table["columns"] == ["step", "prompt", "expected", "answer"]
    assert [row[0] for row in table["data"]] == [3, 3, 6, 6]
    assert table["data"][0][1].startswith("What ") and table["data"][0][1] == table["data"][2][1]
    assert all(row[3] for row in table["data"])


@pytest.mark.slow
def test_an_interrupted_run_is_killed_in_mlflow_and_the_one_that_goes_on_is_finished_with_every_point(
    tmp_path: Path, text: str, tracking_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    out = tmp_path / "out"
    tracking = {"uri": tracking_uri, "experiment": "interrupted"}
    given = tiny_settings(method="pretrain", dataset=text, out=str(out), max_steps=400, checkpoint_every_steps=5, examples=0)
    given["log_every_steps"] = 40
    words = ["run", *(f"{key}={json.dumps(value)}" for key, value in {**given, "tracking": tracking}.items())]

    def stop_soon() -> None:
        while not list((out / "checkpoint").glob("step-*")):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_soon, daemon=True)
    stopper.start()
    assert main(words) == 0 and "interrupted after step" in capsys.readouterr().err
    stopper.join()
    assert main(words) == 0

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("interrupted")
    second, first = client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert [point.step for point in client.get_metric_history(second.info.run_id, "train_loss")] == list(range(40, 401, 40))


@pytest.mark.slow
def test_examples_change_nothing_of_the_training(tmp_path: Path, chat: str, pretrained: str, tracking_uri: str) -> None:
    given = tiny_settings(
        method="lora", lora={"rank": 4, "dropout": 0.2}, dataset=chat, model=pretrained, max_steps=4, validate_every_steps=1
    )

    watched, unwatched = (
        run(TrainConfig.model_validate({**given, "out": str(tmp_path / str(count)), "tracking": {"uri": tracking_uri}, "examples": count}))
        for count in (2, 0)
    )

    assert watched is not None and unwatched is not None and watched.weights == unwatched.weights


def test_lines_off_a_terminal_have_loss_rate_utilization_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter(num_steps=3, first_step=0, peak_share=1e-9)

    with caplog.at_level("INFO"):
        for step in (1, 2, 3):
            meter.show(step, 2.5, 100)

    (line,) = caplog.messages  # steps come faster than lines
    assert line.startswith("step 3 of 3, loss 2.500, ") and " tokens/s, MFU " in line and line.endswith(" 0 s left")


BAR = """
import time
from llmops_train.watching.meter import Meter
meter = Meter(num_steps=4, first_step=1, peak_share=1e-9)
for step in (2, 3, 4):
    time.sleep(0.25)
    meter.show(step, 2.5, 100)
"""


@pytest.mark.slow
def test_on_a_terminal_there_is_a_bar() -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # a terminal has a width
    shown = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(leader, 4096):
                shown.extend(chunk)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run([sys.executable, "-c", BAR], stderr=follower, timeout=200, check=False)
    os.close(follower)
    reader.join(timeout=60)
    os.close(leader)

    text = shown.decode()
    assert done.returncode == 0, text
    assert "step 4 of 4, loss 2.500, " in text and "tokens/s, MFU " in text and "left]" in text
    assert text.count("\r") >= 3  # one line, drawn again and again


def test_the_rate_of_matrix_products_is_measured_once() -> None:
    import torch

    rate = matmul_rate("cpu", torch.float32)

    assert 1e8 < rate < 1e14 and matmul_rate("cpu", torch.float32) == rate
