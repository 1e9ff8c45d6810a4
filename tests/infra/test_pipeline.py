"""The pipeline's own definition, run here from raw text to the Endpoint document: every container's command a process, S3 by moto."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from llmops_infra.cli import main
from llmops_offline.expressions import Execution
from llmops_offline.pipeline import LocalPipeline
from llmops_shared.contracts import DatasetManifest, Endpoint, ModelPackage, Report, TrainingRun
from llmops_shared.contracts.document import Contract
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.tracking import connect
from support.stacks import needs_node
from support.tiny_package import write_package
from support.tools import lacking


class Finished(NamedTuple):
    """A finished execution."""

    printed: str
    buckets: Path
    """What it left in S3, a folder a bucket."""
    tracking_uri: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    needs_node()
    if not shutil.which("terraform"):
        lacking("terraform", "install Terraform 1.11 or newer")
    work = tmp_path_factory.mktemp("a pipeline")
    write_package(work / "package")
    (work / "raw").mkdir()
    chats = [
        {"messages": [
            {"role": "user", "content": f"What does function number {number} of the module shutil do with a tree of files?"},
            {"role": "assistant", "content": f"Function {number} copies a directory tree, entry {number * 7}, to another place and returns {number}."},
        ]}
        for number in range(80)
    ]  # fmt: skip
    (work / "raw" / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    words = [
        "--offline",
        "--source",
        str(work / "raw"),
        "--parameter",
        f"Model={work / 'package' / 'model'}",
        "--run",
        "r1",
        "--out",
        str(work),
    ]
    tracking_uri = f"sqlite:///{work}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch, (work / "printed").open("w") as printed:
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        patch.setattr("sys.stdout", printed)
        assert main(["pipeline", "tests/infra/pipeline.yaml", *words]) == 0
    return Finished((work / "printed").read_text(), work / "pipeline" / "s3", tracking_uri)


D = TypeVar("D", bound=Contract)


def document(finished: Finished, contract: type[D], stage: str) -> tuple[D, str]:
    """The document of a stage, and its digest."""
    (path,) = finished.buckets.glob(f"*/*/r1/{stage}/{contract.file_name}")
    return contract.model_validate_json(path.read_bytes()), sha256(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_raw_text_becomes_an_endpoint_document_whose_lineage_leads_back(finished: Finished) -> None:
    endpoint, _ = document(finished, Endpoint, "endpoint")
    package, package_sha256 = document(finished, ModelPackage, "package")
    run, run_sha256 = document(finished, TrainingRun, "run")
    report, report_sha256 = document(finished, Report, "evaluation")
    dataset, dataset_sha256 = document(finished, DatasetManifest, "dataset")

    assert json.loads(finished.printed)["status"] == "Succeeded"
    assert endpoint.variants[0].package.sha256 == package_sha256
    assert package.run.sha256 == run_sha256 and package.evaluation is not None and package.evaluation.sha256 == report_sha256
    assert run.dataset.sha256 == dataset_sha256 and report.verdict == "pass"
    assert dataset.sources[0].uri.startswith("s3://llmops-small-raw-")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_stages_are_nested_below_one_run_of_mlflow(finished: Finished) -> None:
    client = connect(finished.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'llmops-small'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["llmops.stage"] == "pipeline"]

    stages = {run.data.tags["llmops.stage"]: run for run in runs if run is not parent}
    assert parent.info.run_name == "r1" and {"preprocess", "train", "evaluate", "package"} <= stages.keys()
    assert {run.data.tags["mlflow.parentRunId"] for run in stages.values()} == {parent.info.run_id}


def definition(verdict: str) -> dict[str, object]:
    """An evaluation that leaves a verdict, and a gate behind it."""
    script = f"import sys; open(sys.argv[1], 'w').write('{{\"verdict\": \"{verdict}\"}}')"
    output = {"OutputName": "document", "S3Output": {"S3Uri": "s3://nowhere/verdict", "LocalPath": "/opt/ml/processing/output"}}
    evaluate = {
        "Name": "Evaluate",
        "Type": "Processing",
        "PropertyFiles": [{"PropertyFileName": "Document", "OutputName": "document", "FilePath": "document.json"}],
        "Arguments": {
            "AppSpecification": {
                "ContainerEntrypoint": ["python3"],
                "ContainerArguments": ["-c", script, "/opt/ml/processing/output/document.json"],
            },
            "ProcessingOutputConfig": {"Outputs": [output]},
        },
    }
    verdict_of = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Document"}, "Path": "verdict"}}
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "In", "QueryValue": verdict_of, "Values": ["pass"]}],
            "IfSteps": [],
            "ElseSteps": [
                {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": {"Std:Join": {"On": " ", "Values": ["no:", verdict_of]}}}}
            ],
        },
    }
    return {"Steps": [gate, evaluate]}  # the order is that of what waits for what


@pytest.mark.parametrize(("verdict", "passes"), [("pass", True), ("worse", False)])
def test_the_gate_reads_the_verdict(bucket: str, tmp_path: Path, verdict: str, passes: bool) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket="nowhere")
    pipeline = LocalPipeline(definition(verdict), Execution({}, {}), tmp_path, {})

    if passes:
        assert [(one.name, one.status) for one in pipeline.run()] == [("Evaluate", "Succeeded"), ("Gate", "true")]
    else:
        with pytest.raises(VerdictNo, match="no: worse"):
            pipeline.run()


def test_a_step_that_fails_says_why_and_where_its_log_is(tmp_path: Path) -> None:
    container = {"ContainerEntrypoint": ["python3"], "ContainerArguments": ["-c", "import sys; sys.exit('disk full')"]}
    steps = [{"Name": "Read", "Type": "Processing", "Arguments": {"AppSpecification": container}}]

    with pytest.raises(LlmopsError, match=r"Read: exit code 1: disk full \(all of it in .*/Read/log.txt\)"):
        LocalPipeline({"Steps": steps}, Execution({}, {}), tmp_path, {}).run()
