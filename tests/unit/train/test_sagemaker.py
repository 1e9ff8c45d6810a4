"""A run as a SageMaker training job: the exact request, submitted once, followed to its end."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmops_shared.contracts import Platform, TrainingRun
from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.launchers.cloudwatch_logs import GROUP
from support.golden import FOLDER
from unit.train.shards import write_shards

# the SDK takes seconds to load, and says that about itself
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved")]

ACCOUNT = "111122223333"
HUB = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/"

BASE: dict[str, Any] = {
    "name": "support assistant",
    "method": "full",
    "model": "hub/tiny",
    "max_steps": 100,
    "batch_sequences": 64,
    "parallel": {"engine": "fsdp2"},
}


def platform(bucket: str, **changes: Any) -> Platform:
    """The platform of an environment, its buckets being one."""
    uris = {name: f"{bucket}/{name.removesuffix('_uri')}" for name in Platform.model_fields if name.endswith("_uri")}
    training = {
        "instance_type": "ml.p4d.24xlarge",
        "num_instances": 2,
        "efa": True,
        "spot": False,
        "warm_pool_s": 600,
        "max_runtime_s": 86400,
        "max_wait_s": 172800,
    }
    values = {
        **uris,
        "environment": "dev",
        "region": "us-east-1",
        "vpc_id": "vpc-1",
        "subnet_ids": ["subnet-1", "subnet-2"],
        "job_security_group_ids": ["sg-1"],
        "placement_group": "llmops-dev-cluster",
        "key_arns": {name: f"{HUB}{name}" for name in ("raw", "datasets", "checkpoints", "models")},
        "role_arns": {"train": f"arn:aws:iam::{ACCOUNT}:role/llmops-dev-train"},
        "repository_urls": {"train": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/llmops-dev/train"},
        "tracking_uri": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:mlflow-tracking-server/llmops-dev",
        "model_package_group": "llmops-dev",
        "glue_job": "llmops-dev-preprocess",
        "training": training,
        "alarm_topic_arn": f"arn:aws:sns:us-east-1:{ACCOUNT}:llmops-dev-alerts",
        **changes,
    }
    return Platform.model_validate(values)


FSX = {"id": "fs-0123456789abcdef0", "mount_name": "/abcdef", "datasets_path": "/datasets"}

JOBS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # name: changes of the platform, of the run, of launch
    "own-image": ({}, {}, {}),
    "fsx": ({"file_system": FSX}, {}, {}),
    "spot": (
        {},
        {"tracking": {"uri": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:mlflow-app/app-ABC", "experiment": "assistant"}},
        {"sagemaker": {"instance_type": "ml.m5.4xlarge", "num_instances": 1, "spot": True, "channel": "fastfile", "tags": {"Team": "nlp"}}},
    ),
    "heterogeneous": (
        {},
        {},
        {
            "sagemaker": {
                "channel": "file",
                "instance_groups": [
                    {"name": "trainers", "instance_type": "ml.p4d.24xlarge", "num_instances": 2},
                    {"name": "readers", "instance_type": "ml.c6i.8xlarge", "num_instances": 1, "feeds": True},
                ],
            }
        },
    ),
    "script-mode": ({}, {}, {"sagemaker": {"image": "DLC", "wheels": ["WHEELS"]}}),
    "smddp": (
        {},
        {"parallel": {"engine": "ddp", "backend": "smddp"}},
        {"processes": 8, "sagemaker": {"distribution": "smddp", "image": "DLC"}},
    ),
    "smp": (
        {},
        {"parallel": {"engine": "smp", "smp": {"hybrid_shard_degree": 8}}},
        {"processes": 8, "sagemaker": {"distribution": "smp", "image": "DLC", "wheels": ["WHEELS"]}},
    ),
    "mpi": (
        {},
        {"parallel": {"engine": "ddp"}},
        {"processes": 8, "sagemaker": {"distribution": "mpi", "mpi_options": ["-x", "NCCL_DEBUG"], "image": "DLC", "wheels": ["WHEELS"]}},
    ),
}
DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-sagemaker"

Words = Callable[..., list[str]]


def push_images(*tags: str) -> None:
    """Puts an image for each tag into the platform's registry, an hour after the one before."""
    import boto3
    from moto.ecr.models import ecr_backends

    client = boto3.client("ecr", region_name="us-east-1")
    client.create_repository(registryId=ACCOUNT, repositoryName="llmops-dev/train")
    for number, tag in enumerate(tags):
        layers = [{"digest": f"sha256:{number:064x}", "size": 1}]  # without layers moto draws a digest at random
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": layers}
        client.put_image(registryId=ACCOUNT, repositoryName="llmops-dev/train", imageManifest=json.dumps(manifest), imageTag=tag)
    for number, image in enumerate(ecr_backends["123456789012"]["us-east-1"].repositories["llmops-dev/train"].images):
        image.image_pushed_at = 1_790_000_000 + 3600 * number  # moto's have whole seconds, which are all the same here


@pytest.fixture
def words(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """The command of a job: its settings in a file."""
    write_shards(f"{bucket}/datasets/chat", [40, 40], length=64)
    push_images("1" * 40, "2" * 40, "sha256-ab.sig")  # two commits, and the signature of the second
    monkeypatch.setenv("SAGEMAKER_TELEMETRY_OPT_OUT", "1")
    wheel = tmp_path / "llmops_train-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")

    def command(run: dict[str, Any], launch: dict[str, Any], **changes: Any) -> list[str]:
        (tmp_path / "platform.json").write_bytes(platform(bucket, **changes).to_json())
        own = {"platform": str(tmp_path / "platform.json"), **launch.get("sagemaker", {})}
        if own.get("image") == "DLC":
            own["image"] = DLC
        if own.get("wheels"):
            own["wheels"] = [str(wheel)]
        whole = {**BASE, **run, "launch": {"launcher": "sagemaker", **launch, "sagemaker": own}}
        whole = {"dataset": f"{bucket}/datasets/chat", "out": f"{bucket}/runs/assistant", **whole}
        (tmp_path / "config.json").write_text(json.dumps(whole))
        return ["run", "--config", str(tmp_path / "config.json")]

    return command


def rehearsed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The request that --dry-run prints."""
    assert main([*argv, "--dry-run"]) == 0
    request: dict[str, Any] = json.loads(capsys.readouterr().out)["plan"]["CreateTrainingJob"]
    return request


@pytest.mark.parametrize("name", JOBS)
def test_the_request_is_the_committed_one_and_botocore_takes_it(name: str, words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    import boto3
    from botocore.validate import ParamValidator

    changes, run, launch = JOBS[name]
    path = FOLDER / "requests" / "CreateTrainingJob" / f"{name}.json"

    request = rehearsed(words(run, launch, **changes), capsys)

    shape = boto3.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    assert ParamValidator().validate(request, shape).generate_report() == ""
    if os.environ.get("LLMOPS_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(request, indent=2) + "\n")
    assert request == json.loads(path.read_text())


def test_what_the_container_reads_is_what_was_asked_for(
    words: Words, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmops_train.opt_ml import read_settings

    optimizer = {"kind": "adamw", "learning_rate": 3e-4, "beta2": 0.999}
    request = rehearsed(words({"optimizer": optimizer, "name": '12 o\'clock: "yes"'}, {"processes": 4, "run_id": "job-7"}), capsys)
    config = tmp_path / "ml" / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(request["HyperParameters"]))
    (config / "inputdataconfig.json").write_text("{}")

    settings = read_settings(tmp_path / "ml")

    asked = {
        **BASE,
        "optimizer": optimizer,
        "name": '12 o\'clock: "yes"',
        "dataset": f"{bucket}/datasets/chat",
        "out": f"{bucket}/runs/assistant",
    }
    checkpoint = request["HyperParameters"]["checkpoint_uri"]
    assert settings.train == TrainConfig.model_validate({**asked, "checkpoint_uri": json.loads(checkpoint)})
    assert (settings.container.processes, settings.container.run_id, settings.container.require_efa) == (4, "job-7", True)


def test_without_an_image_the_newest_of_a_commit_is_taken_by_its_digest(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    import boto3

    argv = words({}, {})
    client = boto3.client("ecr", region_name="us-east-1")
    found = client.describe_images(registryId=ACCOUNT, repositoryName="llmops-dev/train", imageIds=[{"imageTag": "2" * 40}])

    request = rehearsed(argv, capsys)

    digest = found["imageDetails"][0]["imageDigest"]
    assert request["AlgorithmSpecification"]["TrainingImage"] == f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/llmops-dev/train@{digest}"

    client.batch_delete_image(registryId=ACCOUNT, repositoryName="llmops-dev/train", imageIds=[{"imageTag": tag * 40} for tag in "12"])
    assert main([*argv, "--dry-run"]) == 2
    assert "llmops-dev/train: has no image of a commit yet; push one (the workflow `images`" in capsys.readouterr().err
    client.delete_repository(registryId=ACCOUNT, repositoryName="llmops-dev/train", force=True)
    assert main([*argv, "--dry-run"]) == 2
    assert "the registry does not tell its images (" in capsys.readouterr().err


class Refusal(NamedTuple):
    """An error as a service answers it."""

    code: str
    message: str


class Aws(ThreadingHTTPServer):
    """SageMaker and CloudWatch Logs, with the answers a test gives; the last of an operation is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Operation)
        self.answers: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []


class Operation(BaseHTTPRequestHandler):
    """One call of the AWS JSON protocol."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Aws)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.headers["X-Amz-Target"].rpartition(".")[2]
        server.calls.append((name, body))
        queue = server.answers[name]
        found = queue[0] if len(queue) == 1 else queue.pop(0)
        code, answer = (400, {"__type": found.code, "message": found.message}) if isinstance(found, Refusal) else (200, found)
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Calls]]:
    """Starts the services with answers by operation; returns the calls they get."""
    server = Aws()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    for service in ("SAGEMAKER", "CLOUDWATCH_LOGS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{server.server_address[1]}")

    def answering(**answers: list[Any]) -> Calls:
        server.answers = {
            "DescribeTrainingJob": [MISSING],
            "CreateTrainingJob": [CREATED],
            "DescribeLogStreams": [{"logStreams": []}],
            **answers,
        }
        return server.calls

    yield answering
    server.shutdown()
    server.server_close()
    thread.join()


MISSING = Refusal("ValidationException", "Requested resource not found.")
CREATED = {"TrainingJobArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/job"}


def status(primary: str, secondary: str, **more: Any) -> dict[str, Any]:
    """An answer of DescribeTrainingJob."""
    return {"TrainingJobName": "job", "TrainingJobStatus": primary, "SecondaryStatus": secondary, **more}


def document(bucket: str) -> None:
    """The run that the job would write."""
    from llmops_shared.contracts.document import Reference
    from llmops_shared.documents import write_document

    run = TrainingRun(
        name="support assistant",
        method="full",
        dataset=Reference(uri=f"{bucket}/datasets/chat/dataset.json", sha256="0" * 64),
        parent=None,
        base_model=None,
        weights=[],
        num_parameters=1,
        num_trainable_parameters=1,
        num_steps=100,
        num_tokens=1,
        seed=0,
        metrics={"train_loss": 1.0},
        mlflow_run_id=None,
        versions={},
    )
    write_document(f"{bucket}/runs/assistant", run)


FAST = {"sagemaker": {"poll_s": 0.01}}


def test_a_job_is_submitted_once_followed_and_its_log_shown(
    words: Words, bucket: str, aws: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    first = {
        "events": [{"timestamp": 1, "message": "step 1 of 100\n"}, {"timestamp": 2, "message": "step 2 of 100\n"}],
        "nextForwardToken": "f/1",
    }
    calls = aws(
        DescribeTrainingJob=[
            MISSING,
            status("InProgress", "Starting"),
            status("InProgress", "Training"),
            status("Completed", "Completed", TrainingTimeInSeconds=90, BillableTimeInSeconds=30),
        ],
        DescribeLogStreams=[{"logStreams": []}, {"logStreams": [{"logStreamName": "job/algo-1-1"}, {"logStreamName": "job/algo-2-1"}]}],
        GetLogEvents=[first, {"events": [], "nextForwardToken": "f/1"}],
    )
    argv = words({}, FAST)

    code = main(argv)

    captured = capsys.readouterr()
    seen = [name for name, _ in calls]
    assert code == 2  # the job says that it completed, and its document is not there
    assert "there is no such TrainingRun" in captured.err
    assert seen.count("CreateTrainingJob") == 1
    assert "[algo-1] step 2 of 100\n" in captured.err
    assert next(body for name, body in calls if name == "GetLogEvents")["logGroupName"] == GROUP
    assert captured.err.count("job support-assistant-") >= 4  # a line for each state

    document(bucket)
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "support assistant"
    assert [name for name, _ in calls] == seen  # finished: nobody was asked


@pytest.mark.parametrize("race", [False, True])
def test_a_second_submit_of_the_same_run_follows_the_first(
    race: bool, words: Words, bucket: str, aws: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    done = status("Completed", "Completed", TrainingTimeInSeconds=90, BillableTimeInSeconds=30)
    calls = aws(
        DescribeTrainingJob=[MISSING, done] if race else [status("InProgress", "Training"), done],
        CreateTrainingJob=[Refusal("ResourceInUse", "Training job names must be unique within an AWS account and region")],
    )

    main(words({}, {**FAST, "run_id": "run-7"}))

    assert [name for name, _ in calls].count("CreateTrainingJob") == int(race)
    assert {body["TrainingJobName"] for name, body in calls if name == "DescribeTrainingJob"} == {"run-7"}
    assert ("at the same time by another" if race else "is there already (InProgress)") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "messages"),
    [
        (
            {"CreateTrainingJob": [Refusal("ResourceLimitExceeded", "The account-level service limit is 0")]},
            ["ResourceLimitExceeded: The account-level", "Service Quotas"],
        ),
        ({"CreateTrainingJob": [Refusal("AccessDeniedException", "is not authorized")]}, ["iam:PassRole"]),
        (
            {"DescribeTrainingJob": [MISSING, status("Failed", "Failed", FailureReason="AlgorithmError: the loss is nan")]},
            ["failed: AlgorithmError: the loss is nan", "goes on from the checkpoint"],
        ),
        (
            {"DescribeTrainingJob": [MISSING, status("Failed", "Failed", FailureReason="CapacityError: Unable to provision")]},
            ["there is no capacity"],
        ),
        ({"DescribeTrainingJob": [MISSING, status("Stopped", "MaxRuntimeExceeded")]}, ["raise launch.sagemaker.max_runtime_s"]),
        ({"DescribeTrainingJob": [MISSING, status("Stopped", "Stopped")]}, ["somebody stopped it"]),
        ({"DescribeTrainingJob": [MISSING, MISSING]}, ["is gone"]),
    ],
)
def test_each_failure_is_one_message_with_the_way_out(
    answers: dict[str, list[Any]], messages: list[str], words: Words, aws: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    aws(**answers)

    code = main(words({}, FAST))

    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert all(message in last for message in messages), last


@pytest.mark.parametrize(
    ("run", "launch", "message"),
    [
        ({"dataset": "build/chat"}, {}, "there is no such DatasetManifest"),
        ({"out": "build/run"}, {}, "out build/run: a training job does not see this machine's disk"),
        ({"model": "."}, {}, "model .: a training job does not see"),
        ({}, {"run_id": "no good"}, "launch.run_id 'no good'"),
        ({}, {"sagemaker": {"channel": "fsx"}}, "the platform has no file system"),
        ({}, {"sagemaker": {"distribution": "smddp"}}, "needs parallel.backend=smddp"),
        ({}, {"sagemaker": {"distribution": "mpi"}}, "give wheels (script mode)"),
        ({}, {"sagemaker": {"wheels": ["x"], "image": "DLC", "distribution": "smp"}}, "needs parallel.engine=smp"),
        ({}, {"sagemaker": {"spot": True, "warm_pool_s": 60}}, "keeps no spot instances"),
        ({"architecture": None, "name": "x" * 3000}, {}, "SageMaker takes 100 settings of 2500 characters"),
    ],
)
def test_what_a_job_cannot_do_is_said_before_it_costs(
    run: dict[str, Any], launch: dict[str, Any], message: str, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(run, launch), "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_script_mode_uploads_the_code_and_says_so_in_the_request(
    words: Words, bucket: str, aws: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    from llmops_shared.store import store_for

    calls = aws(DescribeTrainingJob=[MISSING])
    argv = words({}, {"run_id": "run-9", "sagemaker": {"image": "DLC", "wheels": ["WHEELS"], "wait": False}})
    rehearsal = rehearsed(argv, capsys)
    assert store_for(bucket).entries(f"{bucket}/code") == []  # a rehearsal uploads nothing

    assert main(argv) == 0

    sent = next(body for name, body in calls if name == "CreateTrainingJob")
    assert sent == rehearsal
    names = {entry.uri.removeprefix(f"{bucket}/code/run-9/") for entry in store_for(bucket).entries(f"{bucket}/code")}
    assert {"code/start.py", "code/requirements.txt", "code/llmops_train-0.1.0-py3-none-any.whl", "sm_drivers/sm_train.sh"} <= names


CTRL_C = r"""
import os, pty, signal, sys, time
answer, *argv = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job, which the tests may be, has it ignored
    os.execv(sys.executable, [sys.executable, "-m", "llmops_train.cli", *argv])
shown = b""
while b"Training" not in shown:
    shown += os.read(terminal, 4096)
time.sleep(0.3)
os.write(terminal, b"\x03")
while b"[y/N]" not in shown:
    shown += os.read(terminal, 4096)
os.write(terminal, answer.encode() + b"\n")
try:
    while piece := os.read(terminal, 4096):
        shown += piece
except OSError:
    pass
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["y", ""])
def test_ctrl_c_offers_to_stop_the_job(answer: str, tmp_path: Path, aws: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    from llmops_shared import s3

    calls = aws(DescribeTrainingJob=[status("InProgress", "Training")], StopTrainingJob=[{}])
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "ENDPOINT_URL_S3": f"http://{host}:{port}",
            "ACCESS_KEY_ID": "x",
            "SECRET_ACCESS_KEY": "x",
            "DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        s3.client.cache_clear()
        s3.client().create_bucket(Bucket="llmops-test")
        write_shards("s3://llmops-test/datasets/chat", [40], length=64)
        (tmp_path / "platform.json").write_bytes(platform("s3://llmops-test").to_json())
        sagemaker = {"platform": str(tmp_path / "platform.json"), "poll_s": 0.2}
        launch = {"launcher": "sagemaker", "run_id": "run-1", "sagemaker": sagemaker}
        whole = {**BASE, "dataset": "s3://llmops-test/datasets/chat", "out": "s3://llmops-test/runs/x", "launch": launch}
        (tmp_path / "config.json").write_text(json.dumps(whole))
        command = [sys.executable, "-c", CTRL_C, answer, "run", "--config", str(tmp_path / "config.json")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.stop()
        s3.client.cache_clear()

    assert ended.returncode == 130, ended.stdout
    assert [name for name, _ in calls].count("StopTrainingJob") == (answer == "y")
    assert ("job run-1 is being stopped" if answer else "job run-1 goes on") in ended.stdout
