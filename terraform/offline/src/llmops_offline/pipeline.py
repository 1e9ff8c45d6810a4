"""Runs a SageMaker pipeline's definition on this machine: each container's command as a process, S3 and SageMaker by moto.

A step gets its own tree in place of /opt/ml. What this cannot show is named in the README of this package.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmops_offline.expressions import Execution, references
from llmops_shared.errors import LlmopsError, VerdictNo

logger = logging.getLogger(__name__)

Step = dict[str, Any]
OPT_ML = "/opt/ml"


@dataclass(frozen=True)
class StepResult:
    """What became of a step."""

    name: str
    status: str
    """`Succeeded`, `Failed`, or the branch a condition took."""
    seconds: float
    reason: str = ""


@dataclass
class LocalPipeline:
    """One execution of a definition."""

    definition: Mapping[str, Any]
    execution: Execution
    work: Path
    """Folder of the steps' trees and logs."""
    environment: Mapping[str, str]
    """What every process gets on top of its step's own variables, and instead of them: where S3 and MLflow are here."""
    results: list[StepResult] = field(default_factory=list)

    def run(self) -> list[StepResult]:
        """Runs the steps in order of what they wait for. Raises LlmopsError when one fails, VerdictNo from a step of type Fail."""
        self.run_steps(self.definition["Steps"])
        return self.results

    def run_steps(self, steps: list[Step]) -> None:
        """Runs some steps; those of a branch know each other and what was done before."""
        for step in in_order(steps, {result.name for result in self.results}):
            began = time.monotonic()
            try:
                status = self.run_step(step)
            except LlmopsError as error:
                self.results.append(StepResult(step["Name"], "Failed", time.monotonic() - began, str(error)))
                raise
            self.results.append(StepResult(step["Name"], status, time.monotonic() - began))
            logger.info("%s: %s after %.0f s", step["Name"], status, time.monotonic() - began)
            if step["Type"] == "Condition":
                self.run_steps(step["Arguments"]["IfSteps" if status == "true" else "ElseSteps"])

    def run_step(self, step: Step) -> str:
        """Runs one step and returns its status."""
        name, arguments = step["Name"], step["Arguments"]
        match step["Type"]:
            case "Processing":
                self.processing(name, self.execution.resolve(arguments), step.get("PropertyFiles", []))
            case "Training":
                self.training(name, self.execution.resolve(arguments))
            case "RegisterModel":
                self.register(self.execution.resolve(arguments))
            case "Condition":
                return str(all(self.execution.holds(one) for one in arguments["Conditions"])).lower()
            case "Fail":
                raise VerdictNo(str(self.execution.resolve(arguments["ErrorMessage"])))
            case other:
                raise LlmopsError(f"{name}: a step of type {other} is not simulated")
        return "Succeeded"

    def processing(self, name: str, request: dict[str, Any], files: list[dict[str, str]]) -> None:
        """A processing job: its command, then its outputs to S3."""
        outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
        for output in outputs:
            (self.tree(name) / Path(output["S3Output"]["LocalPath"]).relative_to(OPT_ML)).mkdir(parents=True, exist_ok=True)
        specification = request["AppSpecification"]
        self.call(name, [*specification["ContainerEntrypoint"], *specification["ContainerArguments"]], request.get("Environment", {}))
        for output in outputs:
            local = self.tree(name) / Path(output["S3Output"]["LocalPath"]).relative_to(OPT_ML)
            upload(local, output["S3Output"]["S3Uri"])
            for file in files:
                if file["OutputName"] == output["OutputName"]:
                    self.execution.documents[name, file["PropertyFileName"]] = local / file["FilePath"]

    def training(self, name: str, request: dict[str, Any]) -> None:
        """A training job of one instance, with the files that SageMaker puts into its container."""
        count = request["ResourceConfig"]["InstanceCount"]
        if count != 1:
            raise LlmopsError(f"{name}: asks for {count} instances, and this machine is one; start it with InstanceCount=1")
        configuration = self.tree(name) / "input" / "config"
        configuration.mkdir(parents=True, exist_ok=True)
        for folder in ("model", "checkpoints", "output"):
            (self.tree(name) / folder).mkdir(exist_ok=True)
        (configuration / "resourceconfig.json").write_text(
            '{"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}'
        )
        (configuration / "hyperparameters.json").write_text(json.dumps(request.get("HyperParameters", {})))
        (configuration / "inputdataconfig.json").write_text("{}")
        algorithm = request["AlgorithmSpecification"]
        self.call(name, [*algorithm["ContainerEntrypoint"], *algorithm["ContainerArguments"]], request.get("Environment", {}))

    def register(self, request: dict[str, Any]) -> None:
        """A version in the registry."""
        import boto3

        client = boto3.client("sagemaker")
        group = request["ModelPackageGroupName"]
        groups = client.list_model_package_groups()["ModelPackageGroupSummaryList"]
        if group not in {one["ModelPackageGroupName"] for one in groups}:
            client.create_model_package_group(ModelPackageGroupName=group)
        client.create_model_package(**request)

    def call(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Runs a container's command with its tree instead of /opt/ml. Raises LlmopsError when it fails."""
        tree = self.tree(name)
        words = [word.replace(OPT_ML, str(tree)) for word in command]
        # the commands of this environment come first, as they do in an image
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        log = tree / "log.txt"
        with log.open("wb") as sink:
            done = subprocess.run(
                words,
                cwd=tree,
                env={**os.environ, "PATH": path, **environment, **self.environment},
                stdout=subprocess.DEVNULL,
                stderr=sink,
                check=False,
            )
        if done.returncode:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise LlmopsError(f"{name}: exit code {done.returncode}: {' '.join(last)} (all of it in {log})")

    def tree(self, name: str) -> Path:
        """What stands for /opt/ml in a step."""
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def in_order(steps: list[Step], done: set[str]) -> Iterator[Step]:
    """The steps, each after those it waits for. Raises LlmopsError when they wait for each other or for an unknown one."""
    left, done = list(steps), set(done)
    while left:
        ready = next((step for step in left if waits_for(step) <= done), None)
        if ready is None:
            raise LlmopsError(f"steps {', '.join(step['Name'] for step in left)} wait for each other or for a step that is not there")
        left.remove(ready)
        done.add(ready["Name"])
        yield ready


def waits_for(step: Step) -> set[str]:
    """Names of the steps that come before; those inside a condition's branches are its own affair."""
    arguments = step["Arguments"]
    seen = arguments["Conditions"] if step["Type"] == "Condition" else arguments
    return set(step.get("DependsOn", [])) | references(seen)


def upload(folder: Path, uri: str) -> None:
    """Copies a folder to S3, as SageMaker does at the end of a job."""
    import boto3

    bucket, prefix = urlsplit(uri).netloc, urlsplit(uri).path.strip("/")
    client = boto3.client("s3")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")


@contextmanager
def simulated_aws(region: str) -> Iterator[dict[str, str]]:
    """S3 and SageMaker by moto on loopback, and the variables that lead every SDK there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_DEFAULT_REGION": region,
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield variables
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()


def clear(work: Path) -> None:
    """Removes the trees of an earlier execution."""
    shutil.rmtree(work, ignore_errors=True)
