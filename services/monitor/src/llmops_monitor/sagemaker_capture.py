"""Lines of SageMaker's data capture as exchanges.

One line a call: `captureData` with `endpointInput` and `endpointOutput`, `eventMetadata` with id and time; the object's key is
`PREFIX/{endpoint}/{variant}/{yyyy}/{mm}/{dd}/{hh}/{name}.jsonl` (SageMaker developer guide, Capture data).
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from llmops_shared.contracts.exchange import Exchange, Message

PLACE = re.compile(r"(?:^|/)(?P<endpoint>[\w-]+)/(?P<variant>[\w-]+)/\d{4}/\d{2}/\d{2}/\d{2}/[^/]+$")
MARK = b'"captureData"'
SOURCE = {"source": "sagemaker-capture"}
"""Metadata of an exchange made from a capture. Neither latency nor the prompt's tokens are captured: their 0 is left out of figures."""


class CaptureError(ValueError):
    """A line that is no capture record. Its message has nothing of the line's text."""


def is_capture(line: bytes) -> bool:
    """Whether a line is of data capture, told without parsing it."""
    return MARK in line or b'"eventMetadata"' in line


def exchange_of(line: bytes, file: str) -> Exchange:
    """The exchange of one line; `file` gives endpoint and variant. Raises CaptureError with what is missing."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CaptureError("is not JSON") from error
    try:
        return convert(record, PLACE.search(file))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        lacking = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has a field of another type"
        raise CaptureError(f"is no capture of a request ({lacking})") from error


def convert(record: dict[str, Any], place: re.Match[str] | None) -> Exchange:
    """The exchange of a record; what it raises for one of another shape, the caller names."""
    event, captured = record["eventMetadata"], record["captureData"]
    answer = captured.get("endpointOutput")
    messages = prompt_of(content_of(captured["endpointInput"]))
    response, finish_reason, num_response_tokens, error = (
        answer_of(content_of(answer)) if answer else ("", "error", 0, "no output was captured")
    )
    return Exchange(
        request_id=str(event.get("inferenceId") or event["eventId"]),
        time=moment_of(event["inferenceTime"]),
        endpoint=place["endpoint"] if place else "",
        endpoint_sha256="",
        variant=place["variant"] if place else "AllTraffic",
        shadow=False,
        package_sha256="",
        route="/invocations",
        messages=messages,
        response=response,
        finish_reason=finish_reason,
        num_prompt_tokens=0,
        num_response_tokens=num_response_tokens,
        latency_ms=0,
        first_token_ms=None,
        error=error,
        retrieval=None,
        metadata=SOURCE,
    )


def moment_of(text: str) -> datetime:
    """The time of the call; SageMaker writes UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise CaptureError("has an inferenceTime that is no time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def content_of(part: dict[str, Any]) -> str:
    """The payload as text: base64 unless the endpoint's capture names its content type."""
    text = part.get("data", "")
    if part.get("encoding") != "BASE64":
        return text if isinstance(text, str) else json.dumps(text)
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError) as error:
        raise CaptureError("has a payload that is not base64") from error


def prompt_of(text: str) -> list[Message]:
    """The conversation of a TGI, DJL or OpenAI request; of any other the payload itself as the user's message."""
    body = parsed(text)
    if isinstance(body, dict) and isinstance(body.get("messages"), list):
        roles = {"developer": "system", "tool": "user", "function": "user"}
        return [
            Message(role=roles.get(message["role"], message["role"]), content=plain(message.get("content")))
            for message in body["messages"]
            if isinstance(message, dict) and message.get("role") in ("system", "user", "assistant", *roles)
        ]
    if isinstance(body, dict) and isinstance(body.get("inputs", body.get("prompt")), str):
        return [Message(role="user", content=body.get("inputs", body.get("prompt")))]
    return [Message(role="user", content=text)]


def plain(content: object) -> str:
    """The text of a message: OpenAI's list of parts has its text parts joined."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def answer_of(text: str) -> tuple[str, str, int, str | None]:
    """Answer, finish reason, tokens and error: of TGI and DJL (`generated_text`), OpenAI (`choices`), or the payload itself."""
    pieces = list(bodies(text))
    body = pieces[-1] if pieces else None
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        if isinstance(body.get("generated_text"), str):
            details = body.get("details") or {}
            reason = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}.get(details.get("finish_reason", ""), "stop")
            return body["generated_text"], reason, int(details.get("generated_tokens") or 0), None
        if isinstance(body.get("choices"), list) and body["choices"]:
            choice = body["choices"][0]
            content = plain((choice.get("message") or {}).get("content")) or choice.get("text") or ""
            tokens = (body.get("usage") or {}).get("completion_tokens") or 0
            return content, choice.get("finish_reason") or "stop", int(tokens), None
        if "error" in body:
            return "", "error", 0, str(body.get("error_type") or "the model answered an error")
    return text, "stop", 0, None


def bodies(text: str) -> Iterator[object]:
    """The JSON values of an answer: one, or one a line or a server-sent event where it was streamed."""
    whole = parsed(text)
    if whole is not None:
        yield whole
        return
    for line in text.splitlines():
        value = parsed(line.removeprefix("data:").strip())
        if value is not None:
            yield value


def parsed(text: str) -> object:
    """The JSON value; None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
