"""`launcher: sagemaker`: submits the run as a training job, once, and follows it to its document."""

import json
import logging
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.contracts import DatasetManifest, Platform, TrainingRun
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for
from llmops_train.config import TrainConfig
from llmops_train.launch_config import LaunchConfig
from llmops_train.launchers.sagemaker_follow import ADVICE, describe, follow
from llmops_train.launchers.sagemaker_job import Job, job_of
from llmops_train.launchers.sagemaker_request import request_of

logger = logging.getLogger(__name__)


def launch(config: TrainConfig, launch: LaunchConfig) -> TrainingRun | None:
    """The finished run; None where the job is not waited for. A job of the same name is followed, and not submitted again."""
    if exists(document_uri(config.out, TrainingRun)):
        logger.info("kept %s: finished", config.out)
        return read_document(config.out, TrainingRun)
    job = prepare(config, launch)
    boto = boto_session(job.platform.region)
    client = boto.client("sagemaker")
    found = describe(client, job.name)
    if found is None:
        submit(client, job, request_of(job, sdk_session(job, boto)))
    else:
        logger.info("job %s is there already (%s): following it", job.name, found["TrainingJobStatus"])
    logger.info("https://%s.console.aws.amazon.com/sagemaker/home#/jobs/%s", job.platform.region, job.name)
    if not job.settings.wait:
        return None
    follow(client, boto.client("logs"), job.name, job.settings.poll_s)
    return read_document(config.out, TrainingRun)


def submit(client: Any, job: Job, request: dict[str, Any]) -> None:
    """Creates the job. Of two submits at the same time one wins, and the other finds its job."""
    from botocore.exceptions import ClientError

    with explained(f"job {job.name}", advice=ADVICE):
        try:
            client.create_training_job(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise
            logger.info("job %s was submitted at the same time by another: following it", job.name)
            return
    logger.info("submitted job %s: %d x %s%s", job.name, job.num_training, job.type, ", spot" if job.spot else "")


def rehearse(config: TrainConfig, launch: LaunchConfig) -> dict[str, Any]:
    """The exact request, sent nowhere; code of script mode is not uploaded either."""
    job = prepare(config, launch)
    return {"CreateTrainingJob": request_of(job, sdk_session(job, boto_session(job.platform.region), rehearsing=True))}


def prepare(config: TrainConfig, launch: LaunchConfig) -> Job:
    """The job of a config."""
    assert launch.sagemaker is not None
    manifest = read_document(config.dataset, DatasetManifest)
    return job_of(config, launch, read_platform(launch.sagemaker.platform), manifest)


def read_platform(uri: str) -> Platform:
    """What `terraform output -json` printed, or a Platform document."""
    content = store_for(uri).read(uri)
    try:
        found = json.loads(content)
        return (
            Platform.model_validate(found)
            if isinstance(found, dict) and isinstance(found.get("kind"), str)
            else Platform.from_outputs(content)
        )
    except ValueError as error:
        raise LlmopsError(
            f"platform {uri}: is no Platform document ({str(error).splitlines()[0]}); give what terraform output -json printed"
        ) from error


def boto_session(region: str) -> Any:
    """A session whose clients wait and try again when SageMaker asks to slow down."""
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    session.set_default_client_config(Config(retries={"mode": "adaptive", "max_attempts": 8}))
    return boto3.Session(region_name=region, botocore_session=session)


def sdk_session(job: Job, boto: Any, rehearsing: bool = False) -> Any:
    """The SDK's session. Code of script mode goes below the platform's `code_uri` and the job's name; rehearsing it goes nowhere."""
    from sagemaker.core.helper.session_helper import Session  # type: ignore[import-untyped]

    bucket, _, prefix = job.platform.code_uri.removeprefix("s3://").partition("/")
    session = Session(boto_session=boto, default_bucket=bucket)
    upload = session.upload_data

    def upload_below_job(path: str, bucket: str, key_prefix: str, **options: Any) -> str:
        channel = key_prefix.rpartition("/")[2]  # the SDK's own prefix has the time in it
        key = join(prefix, job.name, channel) if prefix else f"{job.name}/{channel}"
        return f"s3://{bucket}/{key}" if rehearsing else str(upload(path, bucket, key, **options))

    session.upload_data = upload_below_job
    return session
