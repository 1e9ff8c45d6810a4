"""Inside a SageMaker container: the folder /opt/ml in, a run out, over two hosts that have nothing but a network in common."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_train.opt_ml import read_cluster, read_feed, read_settings
from support.hosts import hosts, opt_ml, start_container
from unit.train.tiny import tiny_settings, train_tiny

STEPS = 6


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as hyperparameters have it: `{"a.b": 1}`."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def job(text: str, out: Path, **settings: Any) -> dict[str, Any]:
    """The hyperparameters of a small pretraining job."""
    return flat(tiny_settings(method="pretrain", dataset=text, out=str(out), max_steps=STEPS, **settings))


@pytest.fixture(scope="module")
def alone(text: str, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """The run in one process, to compare with."""
    out = train_tiny(str(tmp_path_factory.mktemp("alone") / "run"), method="pretrain", dataset=text, max_steps=STEPS)
    return read_document(out, TrainingRun)


def same(run: TrainingRun, other: TrainingRun) -> bool:
    """Whether two runs learnt the same, but for the order of sums."""
    return all(run.metrics[name] == pytest.approx(other.metrics[name], abs=1e-5) for name in ("train_loss", "validation_loss"))


@pytest.mark.slow
def test_two_hosts_train_one_model(text: str, alone: TrainingRun, tmp_path: Path) -> None:
    settings = job(text, tmp_path / "run", parallel={"engine": "ddp"}, container={"processes": 1, "run_id": "job-1"})
    names = ["algo-1", "algo-2"]
    roots = {host: opt_ml(tmp_path / host, host, {"workers": names}, settings) for host in names}

    with hosts(names):
        running = [start_container(roots[host], host) for host in names]
        ended = [process.communicate(timeout=240) for process in running]

    assert [process.returncode for process in running] == [0, 0], ended
    run = read_document(str(tmp_path / "run"), TrainingRun)
    assert same(run, alone)
    assert run.num_steps == STEPS
    logs = "".join(log for _, log in ended)
    assert "node 1 of 2" in logs
    assert "node 2 of 2" in logs
    assert "data 2" in logs  # two copies of the model
    assert json.loads((roots["algo-1"] / "model" / "run.json").read_text())["name"] == "tiny"
    assert not (roots["algo-1"] / "output" / "failure").exists()


@pytest.mark.slow
def test_a_host_of_another_kind_feeds_the_one_that_trains(text: str, alone: TrainingRun, tmp_path: Path) -> None:
    container = {"processes": 1, "run_id": "job-2", "feeding_groups": ["readers"]}
    groups = {"readers": ["algo-1"], "trainers": ["algo-2"]}
    settings = job(text, tmp_path / "run", container=container)
    roots = {host: opt_ml(tmp_path / host, host, groups, settings) for host in ("algo-1", "algo-2")}

    with hosts(list(roots)):
        running = [start_container(root, host) for host, root in roots.items()]
        ended = [process.communicate(timeout=240) for process in running]

    assert [process.returncode for process in running] == [0, 0], ended
    assert same(read_document(str(tmp_path / "run"), TrainingRun), alone)
    assert "listens on 0.0.0.0:7077" in ended[0][1]
    assert "training is over (exit code 0)" in ended[0][1]
    assert list((roots["algo-2"] / "checkpoints").iterdir()) == []  # used, and empty once the run is finished


@pytest.mark.slow
def test_a_failure_is_left_where_sagemaker_shows_it(tmp_path: Path) -> None:
    root = opt_ml(
        tmp_path, "algo-1", {"workers": ["algo-1"]}, {"name": "x", "method": "pretrain", "dataset": "/no/such", "max_steps": 1, "hidden": 3}
    )

    process = start_container(root)
    _, log = process.communicate(timeout=120)

    assert process.returncode == 2
    failure = (root / "output" / "failure").read_text()
    assert "hidden: unknown key" in failure
    assert "method pretrain needs either architecture" in failure or "unknown key" in failure
    assert "Traceback" not in log


@pytest.mark.slow
def test_efa_that_is_required_and_missing_stops_the_job_at_once(text: str, tmp_path: Path) -> None:
    if Path("/sys/class/infiniband").exists():
        pytest.skip("needs a machine without EFA")
    settings = job(text, tmp_path / "run", container={"require_efa": True})
    root = opt_ml(tmp_path / "algo-1", "algo-1", {"workers": ["algo-1"]}, settings)

    process = start_container(root)
    process.communicate(timeout=120)

    assert process.returncode == 2
    assert (root / "output" / "failure").read_text().startswith("this host has no EFA device")


def test_channels_say_how_the_data_comes(text: str, tmp_path: Path) -> None:
    settings = job(text, tmp_path / "run", container={"channel": "dataset"})
    for mode, expected in {"FastFile": "fastfile", "File": "auto"}.items():
        root = opt_ml(tmp_path / mode, "algo-1", {"w": ["algo-1"]}, settings, {"dataset": {"TrainingInputMode": mode}})

        feed = read_feed(root, read_settings(root))

        assert (feed.input_mode, feed.mirror) == (expected, str(root / "input" / "data" / "dataset"))
    root = opt_ml(tmp_path / "none", "algo-1", {"w": ["algo-1"]}, settings, {"other": {}})
    with pytest.raises(LlmopsError, match=r"has no channel 'dataset' \(has other\)"):
        read_feed(root, read_settings(root))


def test_real_resource_configs_are_understood(test_data: Path, tmp_path: Path) -> None:
    lines = (test_data / "aws-sagemaker-runtime" / "training_environment.jsonl").read_text().splitlines()
    entries = [entry for entry in map(json.loads, lines) if entry["name"] == "SM_RESOURCE_CONFIG"]
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)

    for entry in entries:
        (config / "resourceconfig.json").write_text(json.dumps(entry["value"]))
        cluster = read_cluster(tmp_path)
        assert cluster.current_host in cluster.hosts
        assert cluster.hosts == sorted(entry["value"]["hosts"])

    assert entries
    (config / "resourceconfig.json").write_text("{}")
    with pytest.raises(LlmopsError, match="lacks 'hosts'"):
        read_cluster(tmp_path)
