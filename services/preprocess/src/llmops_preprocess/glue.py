"""The engine `glue`: the same command as an AWS Glue 5 job, with our wheels, which writes the same document."""

import json
import logging
import time
from typing import Any

from llmops_preprocess.config import PreprocessConfig
from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for

logger = logging.getLogger(__name__)

UNDER_WAY = ("STARTING", "RUNNING", "STOPPING", "WAITING")


def job_run_request(config: PreprocessConfig, wheels: list[str]) -> dict[str, Any]:
    """The StartJobRun request (https://docs.aws.amazon.com/glue/latest/webapi/API_StartJobRun.html)."""
    settings = config.model_dump(mode="json", exclude_unset=True, exclude={"glue"}) | {"engine": "spark"}
    return {
        "JobName": config.glue.job,
        "WorkerType": config.glue.worker_type,
        "NumberOfWorkers": config.glue.num_workers,
        "Timeout": config.glue.timeout_minutes,
        "Arguments": {
            "--additional-python-modules": ",".join(wheels),
            "--enable-metrics": "true",
            "--enable-continuous-cloudwatch-log": "true",
            "--llmops_settings": json.dumps(settings, sort_keys=True),
        },
    }


def find_wheels(config: PreprocessConfig) -> list[str]:
    """Our wheels in S3, which the job installs. Raises LlmopsError without them."""
    if not config.out.startswith("s3://") or not config.glue.wheels:
        raise LlmopsError(
            f"engine glue: reads and writes S3 and installs our wheels; set out=s3://... (is {config.out}) and glue.wheels=s3://..."
        )
    entries = store_for(config.glue.wheels).entries(config.glue.wheels)
    wheels = [entry.uri for entry in entries if entry.uri.rpartition("/")[2].startswith(("llmops_shared-", "llmops_preprocess-"))]
    if len(wheels) != 2:
        raise LlmopsError(
            f"glue.wheels {config.glue.wheels}: needs the wheels of llmops_shared and llmops_preprocess, has {wheels or 'none'}"
        )
    return wheels


def run_on_glue(config: PreprocessConfig) -> None:
    """Starts the job, or follows the run of it that does the same already, and waits until it has written the dataset.

    Raises LlmopsError when it fails.
    """
    import boto3

    request = job_run_request(config, find_wheels(config))
    what = f"Glue job {config.glue.job}"
    with explained(what):
        client = boto3.client("glue")
        run = run_under_way(client, request)
        if run is None:
            run = client.start_job_run(**request)["JobRunId"]
            logger.info("started %s of Glue job %s", run, config.glue.job)
        else:
            logger.info("%s of Glue job %s does the same already: following it", run, config.glue.job)
        while True:
            answer = client.get_job_run(JobName=config.glue.job, RunId=run)["JobRun"]
            if answer["JobRunState"] == "SUCCEEDED":
                return
            if answer["JobRunState"] not in UNDER_WAY:
                raise LlmopsError(
                    f"{what}, run {run}: {answer['JobRunState']} ({answer.get('ErrorMessage', 'no message')}); "
                    f"mend it and run the same command again, finished shards are kept"
                )
            time.sleep(config.glue.poll_s)


def run_under_way(client: Any, request: dict[str, Any]) -> str | None:
    """The run with the same settings that has not ended: StartJobRun knows no token by which a second one would be the first."""
    runs = client.get_job_runs(JobName=request["JobName"], MaxResults=50)["JobRuns"]
    wanted = request["Arguments"]["--llmops_settings"]
    same = [one["Id"] for one in runs if one["JobRunState"] in UNDER_WAY and one.get("Arguments", {}).get("--llmops_settings") == wanted]
    return same[0] if same else None
