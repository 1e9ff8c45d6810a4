"""EventBridge: the event that starts the platform's pipeline."""

import json
from typing import Any

from llmops_shared.aws_errors import explained
from llmops_shared.contracts.platform import DRIFT_EVENT_SOURCE, DRIFT_EVENT_TYPE
from llmops_shared.errors import LlmopsError


def put_events_request(environment: str, verdict: str, detail: dict[str, str], event_bus: str) -> dict[str, Any]:
    """The parameters of PutEvents; the platform's rule looks at source, detail type, environment and verdict."""
    content = {"environment": environment, "verdict": verdict, **detail}
    entry = {"Source": DRIFT_EVENT_SOURCE, "DetailType": DRIFT_EVENT_TYPE, "Detail": json.dumps(content), "EventBusName": event_bus}
    return {"Entries": [entry]}


def put_events(request: dict[str, Any]) -> str:
    """Sends the event and returns its id. Raises LlmopsError when EventBridge does not take it."""
    import boto3

    with explained("EventBridge does not take the event"):
        answer = boto3.client("events").put_events(**request)
    entry = answer["Entries"][0]
    if answer["FailedEntryCount"]:  # PutEvents answers 200 and tells of refused entries in its body
        raise LlmopsError(f"EventBridge refused the event: {entry.get('ErrorCode')}: {entry.get('ErrorMessage')}")
    event_id: str = entry["EventId"]
    return event_id
