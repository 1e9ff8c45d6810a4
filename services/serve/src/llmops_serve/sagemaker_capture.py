"""Exchanges in the form of SageMaker's data capture, so that what reads an endpoint's capture reads this server's as well."""

from typing import Any

from pydantic_core import to_json

from llmops_shared.contracts.exchange import Exchange

REASONS = {"stop": "eos_token", "length": "length"}


def capture_line(exchange: Exchange) -> bytes:
    """One line of a capture file: the request and the answer as TGI's container behind `/invocations` would have had them."""
    if len(exchange.messages) == 1 and exchange.route not in ("/v1/chat/completions", "/invocations"):
        asked: dict[str, Any] = {"inputs": exchange.messages[0].content}
    else:
        asked = {"messages": [{"role": message.role, "content": message.content} for message in exchange.messages]}
    if exchange.error is None:
        details = {
            "finish_reason": REASONS.get(exchange.finish_reason, exchange.finish_reason),
            "generated_tokens": exchange.num_response_tokens,
        }
        answered: dict[str, Any] = {"generated_text": exchange.response, "details": details}
    else:
        answered = {"error": exchange.error, "error_type": "generation"}
    record = {
        "captureData": {"endpointInput": part("INPUT", asked), "endpointOutput": part("OUTPUT", answered)},
        "eventMetadata": {
            "eventId": exchange.request_id,
            "inferenceId": exchange.request_id,
            "inferenceTime": exchange.time.isoformat(timespec="seconds")[:19] + "Z",
        },
        "eventVersion": "0",
    }
    return to_json(record) + b"\n"


def part(mode: str, content: dict[str, Any]) -> dict[str, str]:
    """One side of a call."""
    return {"observedContentType": "application/json", "mode": mode, "data": to_json(content).decode(), "encoding": "JSON"}
