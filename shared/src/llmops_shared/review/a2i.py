"""The review queue as human loops of Amazon Augmented AI (A2I), one a single answer; closed to new customers of AWS."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.contracts.review import ReviewAnswer, ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import GOOD_OR_BAD
from llmops_shared.review.queue import Reviewed
from llmops_shared.store import join, store_for

JUDGEMENT = "judgement"
"""Name of the choice on the platform's page."""


class HumanLoopQueue:
    """Items below an S3 prefix, a file each, named as their human loops are."""

    def __init__(self, uri: str, flow_definition_arn: str) -> None:
        self.uri, self.flow_definition_arn = uri, flow_definition_arn

    def add(self, items: Sequence[ReviewItem]) -> int:
        """Starts a human loop for each new item."""
        fresh = self._fresh(items)
        for item in fresh:
            self._start(self.request(item))
            store_for(self.uri).write(join(self.uri, f"{item.item_id}.json"), item.model_dump_json().encode())
        return len(fresh)

    def requests(self, items: Sequence[ReviewItem]) -> list[dict[str, Any]]:
        return [{"StartHumanLoop": self.request(item)} for item in self._fresh(items)]

    def pending(self, reviewer: str | None = None, limit: int | None = None) -> list[ReviewItem]:
        done = {item.item_id for item, answers in self.reviewed() if any(reviewer in (None, answer.reviewer) for answer in answers)}
        return [item for item in self._items() if item.item_id not in done][:limit]

    def reviewed(self) -> list[Reviewed]:
        found = []
        for item in self._items():
            loop = self._call("describe_human_loop", HumanLoopName=item.item_id)
            if loop["HumanLoopStatus"] == "Failed":
                raise LlmopsError(f"{self.uri}: the human loop {item.item_id} failed: {loop.get('FailureReason')}")
            if loop["HumanLoopStatus"] == "Completed":
                place = loop["HumanLoopOutput"]["OutputS3Uri"]
                said = json.loads(store_for(place).read(place))["humanAnswers"]
                answers = [answer for one in said if (answer := worker_answer(item, one)) is not None]
                found += [Reviewed(item, sorted(answers, key=lambda answer: answer.time))] if answers else []
        return found

    def request(self, item: ReviewItem) -> dict[str, Any]:
        """The parameters of StartHumanLoop; `prompt` and `response` are what the platform's page shows."""
        prompt = "\n\n".join(f"{message.role}: {message.content}" for message in item.messages)
        content = json.dumps({"prompt": prompt, "response": item.candidates[0].response})
        return {
            "HumanLoopName": item.item_id,
            "FlowDefinitionArn": self.flow_definition_arn,
            "HumanLoopInput": {"InputContent": content},
        }

    def _fresh(self, items: Sequence[ReviewItem]) -> list[ReviewItem]:
        """The items not yet in a loop, each once. Raises LlmopsError for one the platform's page cannot ask."""
        for item in items:
            if item.kind != "label" or not set(item.labels) <= set(GOOD_OR_BAD):
                raise LlmopsError(
                    f"{self.uri}: A2I's page asks whether one answer is {' or '.join(GOOD_OR_BAD)}, and item {item.item_id} asks "
                    f"{item.kind} {', '.join(item.labels)}; use a SQLite file or Ground Truth"
                )
        known = {item.item_id for item in self._items()}
        return list({item.item_id: item for item in items if item.item_id not in known}.values())

    def _start(self, request: dict[str, Any]) -> None:
        from botocore.exceptions import ClientError

        try:
            self._call("start_human_loop", **request)
        except LlmopsError as error:
            cause = error.__cause__
            # the name is the item's digest: an interrupted call had started this very loop
            if not (isinstance(cause, ClientError) and cause.response["Error"]["Code"] == "ConflictException"):
                raise

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call of A2I's runtime, its errors named."""
        with explained(f"{self.uri}: A2I {method} of {parameters['HumanLoopName']}"):
            answer: dict[str, Any] = getattr(client(), method)(**parameters)
        return answer

    def _items(self) -> Iterator[ReviewItem]:
        """Every item, in order of their ids."""
        store = store_for(self.uri)
        for entry in store.entries(self.uri):
            if entry.uri.endswith(".json"):
                yield ReviewItem.model_validate_json(store.read(entry.uri))


def client() -> Any:
    """The service's client."""
    import boto3

    return boto3.client("sagemaker-a2i-runtime")


def worker_answer(item: ReviewItem, said: dict[str, Any]) -> ReviewAnswer | None:
    """One worker's answer; None for `cannot tell`, which is none."""
    label = said["answerContent"][JUDGEMENT]["label"]
    if label not in item.labels:
        return None
    return ReviewAnswer(
        item_id=item.item_id,
        reviewer=said["workerId"],
        label=label,
        time=datetime.fromisoformat(said["submissionTime"]),
        duration_s=said.get("timeSpentInSeconds"),
    )
