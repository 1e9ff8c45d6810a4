"""The review queue as SageMaker Ground Truth labeling jobs: one job a batch of items, answered in the team's portal.

Ground Truth is closed to new customers (docs.aws.amazon.com/sagemaker/latest/dg/sms-create-labeling-job-api.html); who uses it already
goes on.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from llmops_shared.aws_errors import refused
from llmops_shared.contracts.review import TIE, ReviewAnswer, ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import shown_order
from llmops_shared.review.queue import Reviewed
from llmops_shared.store import join, store_for

TEMPLATE = Path(__file__).with_name("groundtruth.liquid.html")
SHOWN_TO = "ground-truth"
"""The order of the candidates is drawn once for all workers: a job shows everybody the same line."""
SIDE_BY_SIDE = ("First is better", "Second is better", "Equally good")
TASK_TIME_LIMIT_S = 3600
NAME_LENGTH = 63


class GroundTruthQueue:
    """Items and manifests below an S3 prefix, a folder a job; the workers' answers come back into the same folder."""

    def __init__(self, uri: str, workteam_arn: str, role_arn: str, answers_per_item: int, key_arn: str | None = None) -> None:
        self.uri, self.workteam_arn, self.role_arn = uri, workteam_arn, role_arn
        self.answers_per_item, self.key_arn = answers_per_item, key_arn

    def add(self, items: Sequence[ReviewItem]) -> int:
        """Writes the items not yet in a job and starts a labeling job for them."""
        fresh = self._fresh(items)
        if not fresh:
            return 0
        job = job_name(fresh)
        store, folder = store_for(self.uri), join(self.uri, job)
        store.write(join(folder, "template.liquid.html"), TEMPLATE.read_bytes())
        store.write(join(folder, "input.manifest"), "".join(json.dumps(manifest_line(item)) + "\n" for item in fresh).encode())
        self._start(self.request(job))
        # last: a folder with items is a job that has begun
        store.write(join(folder, "items.jsonl"), "".join(item.model_dump_json() + "\n" for item in fresh).encode())
        return len(fresh)

    def requests(self, items: Sequence[ReviewItem]) -> list[dict[str, Any]]:
        fresh = self._fresh(items)
        return [{"CreateLabelingJob": self.request(job_name(fresh))}] if fresh else []

    def pending(self, reviewer: str | None = None, limit: int | None = None) -> list[ReviewItem]:
        waiting = [
            item
            for job, batch in self._jobs()
            for item, answers in self._answers(job, batch)
            if not any(reviewer is None or answer.reviewer == reviewer for answer in answers)
        ]
        return waiting[:limit]

    def reviewed(self) -> list[Reviewed]:
        return [reviewed for job, batch in self._jobs() for reviewed in self._answers(job, batch) if reviewed.answers]

    def request(self, job: str) -> dict[str, Any]:
        """The parameters of CreateLabelingJob. A custom page needs no Lambda function: `task.input` is the line of the manifest."""
        folder = join(self.uri, job)
        output = {"S3OutputPath": f"{folder}/output"} | ({} if self.key_arn is None else {"KmsKeyId": self.key_arn})
        return {
            "LabelingJobName": job,
            "LabelAttributeName": "review",
            "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": f"{folder}/input.manifest"}}},
            "OutputConfig": output,
            "RoleArn": self.role_arn,
            "HumanTaskConfig": {
                "WorkteamArn": self.workteam_arn,
                "UiConfig": {"UiTemplateS3Uri": f"{folder}/template.liquid.html"},
                "TaskTitle": "Judge answers",
                "TaskDescription": "Read the conversation and say which answer is better, or whether the answer is good",
                "NumberOfHumanWorkersPerDataObject": self.answers_per_item,
                "TaskTimeLimitInSeconds": TASK_TIME_LIMIT_S,
            },
        }

    def _fresh(self, items: Sequence[ReviewItem]) -> list[ReviewItem]:
        """The items not yet in a job, each once."""
        known = {item.item_id for _, batch in self._jobs() for item in batch}
        return list({item.item_id: item for item in items if item.item_id not in known}.values())

    def _start(self, request: dict[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client().create_labeling_job(**request)
        except ClientError as error:
            # the name is a digest of the items: an interrupted call had started this very job
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise refused(f"{self.uri}: Ground Truth does not start {request['LabelingJobName']}", error) from error
        except BotoCoreError as error:
            raise refused(f"{self.uri}: Ground Truth does not start {request['LabelingJobName']}", error) from error

    def _jobs(self) -> Iterator[tuple[str, list[ReviewItem]]]:
        """Each job with its items, in order of the lines."""
        store = store_for(self.uri)
        for entry in store.entries(self.uri):
            if entry.uri.endswith("/items.jsonl"):
                lines = store.read(entry.uri).decode().splitlines()
                yield entry.uri.split("/")[-2], [ReviewItem.model_validate_json(line) for line in lines]

    def _answers(self, job: str, batch: Sequence[ReviewItem]) -> list[Reviewed]:
        """The workers' answers to each item: `annotations/worker-response/iteration-1/LINE/TIME.json`."""
        store = store_for(self.uri)
        folder = join(self.uri, job, "output", job, "annotations", "worker-response")
        answers: list[list[ReviewAnswer]] = [[] for _ in batch]
        for entry in store.entries(folder):
            line = int(entry.uri.split("/")[-2])
            answers[line] += [worker_answer(batch[line], said) for said in json.loads(store.read(entry.uri))["answers"]]
        return [Reviewed(item, sorted(said, key=lambda answer: answer.time)) for item, said in zip(batch, answers, strict=True)]


def client() -> Any:
    """The service's client."""
    import boto3

    return boto3.client("sagemaker")


def job_name(items: Sequence[ReviewItem]) -> str:
    """A name that says which items it is about."""
    digest = hashlib.sha256("\0".join(sorted(item.item_id for item in items)).encode()).hexdigest()
    return f"llmops-review-{digest}"[:NAME_LENGTH]


def manifest_line(item: ReviewItem) -> dict[str, Any]:
    """What the page shows; no name of a candidate is in it."""
    shown = [candidate.response for candidate in shown_order(item, SHOWN_TO)]
    return {
        "source": "\n\n".join(f"{message.role}: {message.content}" for message in item.messages),
        "question": item.question,
        "reference": item.reference or "",
        "first": shown[0],
        "second": shown[1] if len(shown) > 1 else "",
        "choices": list(SIDE_BY_SIDE) if item.kind == "side_by_side" else item.labels,
    }


def worker_answer(item: ReviewItem, said: dict[str, Any]) -> ReviewAnswer:
    """One worker's answer. Raises LlmopsError for a choice the page does not offer."""
    choice, label, first = said["answerContent"]["choice"]["label"], None, None
    if item.kind == "side_by_side":
        order = [candidate.name for candidate in shown_order(item, SHOWN_TO)]
        label, first = dict(zip(SIDE_BY_SIDE, [*order, TIE], strict=True)).get(choice), order[0]
    elif choice in item.labels:
        label = choice
    if label is None:
        raise LlmopsError(
            f"item {item.item_id}: a worker chose {choice!r}, which the page does not offer; was the job's template replaced?"
        )
    return ReviewAnswer(
        item_id=item.item_id,
        reviewer=said["workerId"],
        label=label,
        time=datetime.fromisoformat(said["submissionTime"]),
        first_shown=first,
        duration_s=said.get("timeSpentInSeconds"),
    )
