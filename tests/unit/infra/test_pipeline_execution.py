"""Starting and following an execution, against a server that answers in SageMaker's shapes."""

import json
from collections.abc import Iterator

import pytest

from llmops_infra.cli import main
from support.sagemaker_service import ARN, PROCESSING, TRAINING, Service, executing, sagemaker_service, step
from support.service_rules import complaints

ENVIRONMENT = "tests/infra/everything.yaml"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with sagemaker_service() as (service, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield service


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
