"""The pipeline's definition: the service's rules hold, every container's command is one of ours, and the gate decides."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_infra.config import load_environment
from llmops_infra.pipeline_settings import words_of
from llmops_offline.expressions import Execution, references
from llmops_shared.command import make_parser
from llmops_shared.config import load_config, parse_words
from llmops_shared.errors import LlmopsError
from llmops_train.opt_ml import read_settings
from support.service_rules import complaints
from support.stacks import Resources

Step = dict[str, Any]
PARAMETERS = {
    "Run": "2026-11-25", "Source": "s3://llmops-raw/documents", "Model": "s3://llmops-models/packages/base", "Baseline": "null",
    "Endpoint": "s3://llmops-models/endpoints/assistant", "ImageTag": "1.0", "InstanceType": "ml.g5.2xlarge", "InstanceCount": 1,
    "Approval": "PendingManualApproval",
}  # fmt: skip


@pytest.fixture(scope="module")
def definition(platform: Resources) -> dict[str, Any]:
    """The definition with every switch on; Terraform's expressions stand for names, ARNs and buckets."""
    (pipeline,) = platform["aws_sagemaker_pipeline"].values()
    text = re.sub(r"\$\{(aws_iam_role)\.[\w.-]+\}", "arn:aws:iam::123456789012:role/llmops", pipeline["pipeline_definition"])
    text = re.sub(r"\$\{(aws_kms_key)\.[\w.-]+\}", "arn:aws:kms:eu-west-1:123456789012:key/1", text)
    text = re.sub(r"\$\{(aws_security_group)\.[\w.-]+\}", "sg-1", text)
    text = re.sub(r"\$\{aws_subnet\.[\w.-]+\}", "subnet-1", text)
    found: dict[str, Any] = json.loads(re.sub(r"\$\{[^}]+\}", "llmops", text))
    return found


def all_steps(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        branches = step["Arguments"]
        yield from all_steps([*branches.get("IfSteps", []), *branches.get("ElseSteps", [])])


def resolved(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = Execution(PARAMETERS, {}).resolve(step["Arguments"])
    return found


def test_each_stage_of_the_loop_is_a_step_in_its_order(definition: dict[str, Any]) -> None:
    steps = {step["Name"]: step for step in all_steps(definition["Steps"])}

    assert list(steps) == ["Preprocess", "Documents", "Index", "Train", "Evaluate", "Gate", "Package", "Register", "Shadow", "Refuse"]
    assert steps["Gate"]["Arguments"]["Conditions"][0]["Values"] == ["pass", "better", "no_difference"]
    assert steps["Register"]["DependsOn"] == ["Package"]
    assert [one["Name"] for one in definition["Parameters"] if "DefaultValue" not in one] == ["Run"]


def test_the_service_takes_every_request(definition: dict[str, Any]) -> None:
    operations = {"Processing": ("CreateProcessingJob", "ProcessingJobName"), "Training": ("CreateTrainingJob", "TrainingJobName")}
    for step in all_steps(definition["Steps"]):
        if step["Type"] in operations:
            operation, name = operations[step["Type"]]
            assert complaints("sagemaker", operation, {name: "job", **resolved(step)}) == [], step["Name"]
        elif step["Type"] == "RegisterModel":
            assert complaints("sagemaker", "CreateModelPackage", resolved(step)) == []


def test_the_definition_keeps_the_limits_of_pipelines(definition: dict[str, Any]) -> None:
    steps = list(all_steps(definition["Steps"]))
    names = [step["Name"] for step in steps]
    request = {
        "PipelineName": "llmops-full",
        "PipelineDefinition": json.dumps(definition),
        "ClientRequestToken": "0" * 32,
        "RoleArn": "arn:aws:iam::123456789012:role/llmops",
    }

    assert complaints("sagemaker", "CreatePipeline", request) == []
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name) for name in names)
    assert len(definition["Parameters"]) <= 200 and len(names) <= 50
    top = {step["Name"] for step in definition["Steps"]}
    for step in steps:
        branches = [*step["Arguments"].get("IfSteps", []), *step["Arguments"].get("ElseSteps", [])]
        assert not [one for one in branches if one["Type"] == "Condition"], "conditions do not nest"
        siblings = {one["Name"] for one in branches}
        assert all(set(one.get("DependsOn", [])) <= siblings for one in branches)
        assert references(step["Arguments"]) | set(step.get("DependsOn", [])) <= top | set(names)


def test_what_fails_for_a_moment_is_tried_again_later_and_later(definition: dict[str, Any]) -> None:
    for step in all_steps(definition["Steps"]):
        if step["Type"] in ("Processing", "Training", "RegisterModel"):
            for policy in step["RetryPolicies"]:
                assert policy["BackoffRate"] > 1 and 1 <= policy["MaxAttempts"] <= 20 and policy["IntervalSeconds"] >= 1
    jobs = [step for step in all_steps(definition["Steps"]) if step["Type"] in ("Processing", "Training")]
    assert all(
        {"SageMaker.CAPACITY_ERROR", "Step.THROTTLING"} <= {kind for one in step["RetryPolicies"] for kind in one["ExceptionType"]}
        for step in jobs
    )
    assert all(step["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P30D"} for step in jobs)


def test_jobs_run_privately_tagged_and_nested_below_one_run_of_mlflow(definition: dict[str, Any]) -> None:
    for step in all_steps(definition["Steps"]):
        if step["Type"] not in ("Processing", "Training"):
            continue
        request = resolved(step)
        vpc = request.get("VpcConfig") or request["NetworkConfig"]["VpcConfig"]
        assert vpc["Subnets"] and vpc["SecurityGroupIds"]
        assert request["Environment"]["LLMOPS_PIPELINE_RUN"] == "2026-11-25"
        assert request["Environment"]["MLFLOW_EXPERIMENT_NAME"] == "llmops-full"
        assert {"Key": "Environment", "Value": "full"} in request["Tags"]


def test_every_container_s_command_is_read_by_the_real_command_line(definition: dict[str, Any], tmp_path: Path) -> None:
    seen = []
    for step in all_steps(definition["Steps"]):
        request = resolved(step) if step["Type"] in ("Processing", "Training") else {}
        container = request.get("AppSpecification") or request.get("AlgorithmSpecification")
        if not container:
            continue
        (command,), words = container["ContainerEntrypoint"], container["ContainerArguments"]
        if step["Type"] == "Training":  # whose settings come as hyperparameters
            assert words == ["train", "root=/opt/ml"]
            folder = tmp_path / "input" / "config"
            folder.mkdir(parents=True)
            (folder / "hyperparameters.json").write_text(json.dumps(request["HyperParameters"]))
            found = read_settings(tmp_path)
            assert found.container.require_efa and found.train.lora is not None and found.train.lora.rank == 32
            seen.append((step["Name"], found.train.out))
            continue
        verbs = {verb.name: verb for verb in importlib.import_module(f"llmops_{command.removeprefix('llmops-')}.cli").VERBS}
        parser = make_parser(command, "", list(verbs.values()))

        read = parser.parse_args(words)
        seen.append((step["Name"], load_config(verbs[read.verb].config, None, read.settings).out))

    assert [name for name, _ in seen] == ["Preprocess", "Documents", "Index", "Train", "Evaluate", "Package", "Shadow"]
    assert all(re.fullmatch(r"s3://\S+/2026-11-25/\w+", out) for _, out in seen), seen


def test_settings_of_a_recipe_reach_the_command_as_they_are() -> None:
    tree = {
        "name": "a: b",
        "n": 3,
        "rate": 1.0e-3,
        "words": ["x", "1e-3"],
        "off": None,
        "deep": {"yes": True, "text": "null"},
        "lines": "a\nb",
    }

    assert parse_words(words_of(tree)) == tree


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pipeline.recipes.train.out=s3://elsewhere"], "train: out is set by the pipeline itself"),
        ([f"pipeline.recipes.evaluate.name={'x' * 300}"], "is longer than 256 characters"),
        (["pipeline.recipes.documents=null"], "documents and index go together"),
        (["pipeline.model=null"], "starts from no model"),
    ],
)
def test_a_recipe_that_no_step_could_take_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(LlmopsError, match=message):
        load_environment("tests/infra/everything.yaml", words)
