"""Executions of the pipeline on SageMaker: start one, follow it with its steps, logs and cost."""

import hashlib
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3  # noqa: TID253 - this module is imported late

from llmops_infra.config import Environment
from llmops_shared.aws_errors import explained
from llmops_shared.config import Config
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.prices.price_list import PriceList, read_prices

logger = logging.getLogger(__name__)

LOG_GROUPS = {"TrainingJob": "/aws/sagemaker/TrainingJobs", "ProcessingJob": "/aws/sagemaker/ProcessingJobs"}
RUNNING = ("Executing", "Stopping")
# what to do about an error of the service
ADVICE = {
    "ResourceNotFound": "apply the platform with pipeline.recipes first (make apply)",
    "AccessDeniedException": "use credentials that may start and describe the pipeline, such as the deploy role",
    "ThrottlingException": "SageMaker limits these calls; the same command again in a minute starts nothing twice",
    "ResourceLimitExceeded": "the account has no more of these instances: ask for a quota in Service Quotas, or name another InstanceType",
    "ConflictException": "an execution of that name runs with other parameters; choose another --run",
}


class Started(Config):
    """An execution of the pipeline."""

    pipeline: str
    """Name of the pipeline."""
    execution_arn: str
    """ARN of the execution."""
    run: str
    """Its name, below which its documents lie."""
    status: str
    """`Executing` once started; with `--follow` how it ended."""
    usd: float | None = None
    """What its jobs have cost, by the price list; with `--follow` only."""


@dataclass
class Follower:
    """What has been said of an execution so far."""

    client: Any
    logs: Any
    prices: PriceList
    say: Callable[[str], None]
    statuses: dict[str, str] = field(default_factory=dict)
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def look(self, arn: str) -> tuple[str, float]:
        """Says what is new; the status of the execution and what it has cost so far, in USD."""
        status = str(self.client.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"])
        usd = 0.0
        for step in self.steps(arn):
            usd += self.look_at(step)
        return status, usd

    def steps(self, arn: str) -> Iterator[dict[str, Any]]:
        """The steps that have begun, the first one first."""
        pages = self.client.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn, SortOrder="Ascending")
        for page in pages:
            yield from page["PipelineExecutionSteps"]

    def look_at(self, step: Mapping[str, Any]) -> float:
        """Says what is new of a step; its cost in USD."""
        name, status = step["StepName"], step["StepStatus"]
        if self.statuses.get(name) != status:
            self.statuses[name] = status
            cached = " (reused)" if step.get("CacheHitResult") else ""
            reason = f": {step['FailureReason']}" if step.get("FailureReason") else ""
            self.say(f"{name}: {status}{cached}{reason}")
        kind, job = job_of(step)
        if not job or step.get("CacheHitResult"):
            return 0.0
        self.tell_logs(kind, job, name)
        return self.cost(kind, job)

    def tell_logs(self, kind: str, job: str, name: str) -> None:
        """Says the lines of a job's logs since the last look."""
        group = LOG_GROUPS[kind]
        try:
            streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            return  # the first job of an account has no group until it writes
        for stream in streams:
            key = (group, stream["logStreamName"])
            more = {"nextToken": self.tokens[key]} if key in self.tokens else {}
            found = self.logs.get_log_events(logGroupName=group, logStreamName=key[1], startFromHead=True, **more)
            self.tokens[key] = found["nextForwardToken"]
            for event in found["events"]:
                self.say(f"{name} | {event['message'].rstrip()}")

    def cost(self, kind: str, job: str) -> float:
        """What a job has cost until now: seconds, instances, price an hour."""
        if kind == "TrainingJob":
            found = self.client.describe_training_job(TrainingJobName=job)
            cluster = found["ResourceConfig"]
            # spare capacity is billed for fewer seconds than it ran, which is what the discount comes as
            seconds = found.get("BillableTimeInSeconds") or elapsed(found.get("TrainingStartTime"), found.get("TrainingEndTime"))
        else:
            found = self.client.describe_processing_job(ProcessingJobName=job)
            cluster = found["ProcessingResources"]["ClusterConfig"]
            seconds = elapsed(found.get("ProcessingStartTime"), found.get("ProcessingEndTime"))
        return seconds / 3600 * float(cluster["InstanceCount"]) * self.prices.instance(cluster["InstanceType"])


def job_of(step: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of the job a step runs; empty for one without."""
    for kind in LOG_GROUPS:
        if arn := step.get("Metadata", {}).get(kind, {}).get("Arn"):
            return kind, str(arn).rpartition("/")[2]
    return "", ""


def elapsed(start: datetime | None, end: datetime | None) -> float:
    """Seconds from start to end, or until now; 0 before the start."""
    return ((end or datetime.now(UTC)) - start).total_seconds() if start else 0.0


def start_request(environment: Environment, run: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The request of StartPipelineExecution. The token makes a second start of the same the same execution."""
    values = [{"Name": name, "Value": value} for name, value in {"Run": run, **parameters}.items()]
    token = hashlib.sha256(f"{environment.prefix} {values}".encode()).hexdigest()
    return {"PipelineName": environment.prefix, "PipelineParameters": values, "ClientRequestToken": token}


def start(environment: Environment, run: str, parameters: Mapping[str, str]) -> Started:
    """Starts an execution, or finds the one that the same start made. Raises LlmopsError with the next action when it cannot."""
    client = boto3.client("sagemaker", region_name=environment.region)
    with explained(environment.prefix, advice=ADVICE):
        arn = client.start_pipeline_execution(**start_request(environment, run, parameters))["PipelineExecutionArn"]
    logger.info("%s: execution %s is running", environment.prefix, arn.rpartition("/")[2])
    return Started(pipeline=environment.prefix, execution_arn=arn, run=run, status="Executing")


def follow(environment: Environment, started: Started, say: Callable[[str], None], every_s: float) -> Started:
    """Says steps and logs until the execution ends. Raises VerdictNo when its gate refused, LlmopsError when it failed or was stopped."""
    client = boto3.client("sagemaker", region_name=environment.region)
    follower = Follower(client, boto3.client("logs", region_name=environment.region), read_prices(environment.region), say)
    shown = -1.0
    while True:
        with explained(environment.prefix, advice=ADVICE):
            status, usd = follower.look(started.execution_arn)
        if usd - shown >= 0.01:
            shown = usd
            say(f"cost so far: {usd:.2f} USD")
        if status not in RUNNING:
            break
        time.sleep(every_s)
    if status != "Succeeded":
        raise ended(client, started, status, follower.statuses)
    return started.model_copy(update={"status": status, "usd": round(usd, 4)})


def ended(client: Any, started: Started, status: str, steps: Mapping[str, str]) -> LlmopsError:
    """Why an execution did not succeed, and what to do."""
    reason = client.describe_pipeline_execution(PipelineExecutionArn=started.execution_arn).get("FailureReason", "no reason given")
    where = f"{started.pipeline}, run {started.run}"
    if steps.get("Refuse"):
        return VerdictNo(f"{where}: the gate refused the model: {reason}")
    failed = ", ".join(name for name, one in steps.items() if one == "Failed") or "no step"
    return LlmopsError(
        f"{where}: {status} ({failed} failed: {reason}); correct it and start the same --run again: what is finished is kept"
    )


def default_run() -> str:
    """A name for an execution: the day and the commit."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    done = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    return f"{day}-{done.stdout.strip()}" if done.returncode == 0 else day
