"""Starting and following an execution, against a server that answers in SageMaker's shapes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from llmops_infra.cli import main
from support.service_rules import complaints

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/llmops-full/execution/abcdefghijkl"
TRAINING = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/train-1"
PROCESSING = "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/read-1"
ENVIRONMENT = "tests/infra/everything.yaml"

Answers = dict[str, list[tuple[int, dict[str, Any]]]]


class Service:
    """Answers by operation, the last one again and again; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append((operation, body))
        known = self.answers[operation]
        return known.pop(0) if len(known) > 1 else known[0]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            status, answer = service.answer(operation, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


def step(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"StepName": name, "StepStatus": status, **more}


def executing(service: Service, final: str, steps: list[dict[str, Any]]) -> None:
    """A service whose execution ends at the second look."""
    job = {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.4xlarge", "VolumeSizeInGB": 100}}}
    service.answers = {
        "StartPipelineExecution": [(200, {"PipelineExecutionArn": ARN})],
        "DescribePipelineExecution": [
            (200, {"PipelineExecutionStatus": "Executing"}),
            (200, {"PipelineExecutionStatus": final, "FailureReason": "it says so"}),
        ],
        "ListPipelineExecutionSteps": [
            (200, {"PipelineExecutionSteps": [step("Preprocess", "Executing", Metadata={"ProcessingJob": {"Arn": PROCESSING}})]}),
            (200, {"PipelineExecutionSteps": steps}),
        ],
        "DescribeProcessingJob": [(200, {**job, "ProcessingStartTime": 1_000, "ProcessingEndTime": 4_600})],
        "DescribeTrainingJob": [
            (200, {"ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.g5.2xlarge"}, "BillableTimeInSeconds": 1_800})
        ],
        "DescribeLogStreams": [(200, {"logStreams": [{"logStreamName": "read-1/algo-1"}]})],
        "GetLogEvents": [
            (200, {"events": [{"message": "read: 80 rows in, 80 out", "timestamp": 1}], "nextForwardToken": "f/1"}),
            (200, {"events": [], "nextForwardToken": "f/1"}),
        ],
    }


def test_a_start_names_the_run_and_cannot_be_doubled(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.answers = {"StartPipelineExecution": [(200, {"PipelineExecutionArn": ARN})]}
    words = ["pipeline", ENVIRONMENT, "--run", "r1", "--parameter", "Model=s3://llmops-models/packages/other"]

    assert main(words) == 0
    assert main(words) == 0

    (first, second) = [body for _, body in service.asked]
    assert first == second  # the same token: SageMaker answers with the same execution
    assert complaints("sagemaker", "StartPipelineExecution", first) == []
    assert first["PipelineParameters"] == [{"Name": "Run", "Value": "r1"}, {"Name": "Model", "Value": "s3://llmops-models/packages/other"}]
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out) == {"StartPipelineExecution": first}
    assert len(service.asked) == 2


def test_following_shows_steps_logs_and_what_they_cost(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    done = [
        step("Preprocess", "Succeeded", Metadata={"ProcessingJob": {"Arn": PROCESSING}}),
        step("Documents", "Succeeded", CacheHitResult={"SourcePipelineExecutionArn": ARN}, Metadata={"ProcessingJob": {"Arn": PROCESSING}}),
        step("Train", "Succeeded", Metadata={"TrainingJob": {"Arn": TRAINING}}),
    ]
    executing(service, "Succeeded", done)

    assert main(["pipeline", ENVIRONMENT, "--run", "r1", "--follow", "--every", "0.01"]) == 0

    printed = capsys.readouterr()
    # an hour of one ml.m5.4xlarge, and half an hour of two ml.g5.2xlarge; what was reused cost nothing
    assert json.loads(printed.out)["usd"] == pytest.approx(0.922 + 1.515)
    lines = printed.err.splitlines()
    assert [line for line in lines if line.startswith("Preprocess")] == [
        "Preprocess: Executing", "Preprocess | read: 80 rows in, 80 out", "Preprocess: Succeeded",
    ]  # fmt: skip
    assert "Documents: Succeeded (reused)" in lines and "cost so far: 0.92 USD" in lines and "cost so far: 2.44 USD" in lines


def test_a_gate_that_refuses_exits_with_3(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    executing(service, "Failed", [step("Gate", "Succeeded"), step("Refuse", "Failed", FailureReason="the evaluation says worse")])

    assert main(["pipeline", ENVIRONMENT, "--run", "r1", "--follow", "--every", "0.01"]) == 3

    assert "run r1: the gate refused the model: it says so" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "word"), [("Failed", "Failed (Train failed"), ("Stopped", "Stopped (Train failed")])
def test_a_failed_or_stopped_execution_is_one_message_with_the_next_action(
    service: Service, capsys: pytest.CaptureFixture[str], status: str, word: str
) -> None:
    executing(service, status, [step("Train", "Failed", FailureReason="CapacityError: no ml.g5.2xlarge")])

    assert main(["pipeline", ENVIRONMENT, "--run", "r1", "--follow", "--every", "0.01"]) == 2

    last = capsys.readouterr().err.splitlines()[-1]
    assert word in last and last.endswith("start the same --run again: what is finished is kept")


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("ThrottlingException", "the same command again in a minute starts nothing twice"),
        ("ResourceLimitExceeded", "ask for a quota in Service Quotas"),
        ("ResourceNotFound", "apply the platform with pipeline.recipes first"),
        ("AccessDeniedException", "use credentials that may start"),
    ],
)
def test_an_error_of_the_service_says_what_to_do(service: Service, capsys: pytest.CaptureFixture[str], code: str, advice: str) -> None:
    service.answers = {"StartPipelineExecution": [(400, {"__type": code, "message": "no"})]}

    assert main(["pipeline", ENVIRONMENT, "--run", "r1"]) == 2

    assert advice in capsys.readouterr().err


def test_a_pipeline_without_a_model_or_recipes_is_not_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "dev"]) == 2
    assert "give --parameter Model=s3://" in capsys.readouterr().err
    assert main(["pipeline", "dev", "pipeline.recipes=null"]) == 2
    assert "describe its stages in pipeline.recipes" in capsys.readouterr().err
