"""Follows a training job: its log to stderr, its end to one message, and an offer to stop it on Ctrl-C."""

import logging
import sys
import time
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError
from llmops_train.launchers.cloudwatch_logs import JobLog

logger = logging.getLogger(__name__)

DONE = ("Completed", "Failed", "Stopped")

ADVICE = {
    "ResourceLimitExceeded": "ask Service Quotas for more of this instance type, take another type, or end the job or warm pool "
    "that holds it",
    "AccessDeniedException": "the caller needs sagemaker:CreateTrainingJob, sagemaker:AddTags and iam:PassRole for the training role",
    "ValidationException": "correct the setting it names; --dry-run prints the whole request",
}
"""What to do about an error of the service, where a training job has more to say than `llmops_shared.aws_errors`."""

REASONS = (
    ("CapacityError", "there is no capacity for this type now: try later, another subnet's zone, or spot=false"),
    ("InternalServerError", "an error of the service: submit again with another launch.run_id; it goes on from the checkpoint"),
    ("AlgorithmError", "the message is the container's: mend it, then submit with another launch.run_id; it goes on from the checkpoint"),
    ("ClientError", "a setting or a permission of the job's role is wrong: mend it, then submit with another launch.run_id"),
)
"""What to do about a failed job, by the first word of its FailureReason."""


def describe(client: Any, name: str) -> dict[str, Any] | None:
    """The job; None when there is none of this name."""
    from botocore.exceptions import ClientError

    with explained(f"job {name}", advice=ADVICE):
        try:
            found: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
        except ClientError as error:
            if "not found" in error.response["Error"].get("Message", "").lower():
                return None
            raise
    return found


def follow(client: Any, logs: Any, name: str, poll_s: float) -> None:
    """Waits for the job's end. Raises LlmopsError when it failed or was stopped."""
    log, shown = JobLog(logs, name), ""
    try:
        while True:
            found = describe(client, name)
            if found is None:
                raise LlmopsError(f"job {name}: is gone; was it deleted? submit it again with another launch.run_id")
            status = f"{found['TrainingJobStatus']}: {found['SecondaryStatus']}"
            if status != shown:
                logger.info("job %s: %s", name, status)
                shown = status
            with explained(f"job {name}", advice=ADVICE):
                log.show()
            if found["TrainingJobStatus"] in DONE:
                end(found, name)
                return
            time.sleep(poll_s)
    except KeyboardInterrupt:
        offer_to_stop(client, name)
        raise


def end(found: dict[str, Any], name: str) -> None:
    """Says what the job came to. Raises LlmopsError unless it completed."""
    status, reason = found["TrainingJobStatus"], found.get("FailureReason", "")
    if status == "Completed":
        paid, ran = found.get("BillableTimeInSeconds"), found.get("TrainingTimeInSeconds")
        logger.info("job %s completed: %s s of training, %s s billed", name, ran, paid)
        return
    if status == "Stopped":
        limit = {"MaxRuntimeExceeded": "max_runtime_s", "MaxWaitTimeExceeded": "max_wait_s"}.get(found.get("SecondaryStatus", ""))
        why = f"it reached {limit}: raise launch.sagemaker.{limit} and" if limit else "somebody stopped it:"
        raise LlmopsError(f"job {name}: stopped; {why} submit with another launch.run_id, and it goes on from the checkpoint")
    advice = next((advice for word, advice in REASONS if reason.startswith(word)), "see the log above")
    raise LlmopsError(f"job {name}: failed: {reason or 'no reason given'}; {advice}")


def offer_to_stop(client: Any, name: str) -> None:
    """After Ctrl-C: the job goes on unless the user says that it shall not."""
    from botocore.exceptions import ClientError

    if not sys.stdin.isatty():
        sys.stderr.write(f"job {name} goes on; the same command follows it again\n")
        return
    sys.stderr.write(f"\nStop job {name}, too? It writes a checkpoint first. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        sys.stderr.write(f"job {name} goes on; the same command follows it again\n")
        return
    with explained(f"job {name}", advice=ADVICE):
        try:
            client.stop_training_job(TrainingJobName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":  # it has ended meanwhile
                raise
    sys.stderr.write(f"job {name} is being stopped\n")
