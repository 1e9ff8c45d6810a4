import base64
import json
from pathlib import Path

import pytest

from llmops_monitor.load import BrokenLine, log_files, read_log, records
from llmops_monitor.sagemaker_capture import CaptureError, exchange_of
from llmops_shared.store import join, store_for

PLACE = "capture/my-endpoint/blue/2026/11/23/10/12-01-123.jsonl"
SECRET = "my card is 4111 1111 1111 1111"


def line(asked: object, answered: object, encoding: str = "JSON", **event: str) -> bytes:
    def part(content: object, mode: str) -> dict[str, str]:
        text = content if isinstance(content, str) else json.dumps(content)
        return {"observedContentType": "application/json", "mode": mode, "encoding": encoding,
                "data": base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text}  # fmt: skip

    return json.dumps({
        "captureData": {"endpointInput": part(asked, "INPUT"), "endpointOutput": part(answered, "OUTPUT")},
        "eventMetadata": {"eventId": "event-1", "inferenceTime": "2026-11-23T10:12:01Z", **event}, "eventVersion": "0",
    }).encode()  # fmt: skip


CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "What is 1?"}]}]}


@pytest.mark.parametrize("encoding", ["JSON", "BASE64"])
@pytest.mark.parametrize(
    ("asked", "answered", "prompt", "answer", "reason", "tokens"),
    [
        ({"inputs": "Say one", "parameters": {}}, {"generated_text": "one", "details": {"finish_reason": "eos_token", "generated_tokens": 3}},
         "Say one", "one", "stop", 3),
        ({"inputs": "Say one"}, [{"generated_text": "one"}], "Say one", "one", "stop", 0),
        (CHAT, {"choices": [{"message": {"content": "one"}, "finish_reason": "length"}], "usage": {"completion_tokens": 2}},
         "What is 1?", "one", "length", 2),
        ({"inputs": "Say one"}, 'data:{"token":{"text":"o"}}\n\ndata:{"token":{"text":"ne"},"generated_text":"one"}\n', "Say one", "one", "stop", 0),
        ("1,2,3", "0.5", "1,2,3", "0.5", "stop", 0),
    ],
)  # fmt: skip
def test_requests_of_every_kind_become_exchanges(
    encoding: str, asked: object, answered: object, prompt: str, answer: str, reason: str, tokens: int
) -> None:
    found = exchange_of(line(asked, answered, encoding), PLACE)

    assert (found.messages[-1].content, found.response, found.finish_reason, found.num_response_tokens) == (prompt, answer, reason, tokens)
    assert (found.endpoint, found.variant, found.request_id, found.error) == ("my-endpoint", "blue", "event-1", None)
    assert found.time.isoformat() == "2026-11-23T10:12:01+00:00"


def test_the_callers_inference_id_is_the_request_id() -> None:
    assert exchange_of(line("x", "y", inferenceId="mine"), PLACE).request_id == "mine"


@pytest.mark.parametrize(
    "broken",
    [
        b'{"captureData": ', b'{"captureData": {}}', b'{"captureData": [], "eventMetadata": {}}', b'{"captureData": 1, "eventMetadata": 2}',
        b'"captureData"', line("x", "y", inferenceTime="yesterday"), line("x", "y").replace(b'"JSON"', b'"BASE64"').replace(b'"x"', b'"?"'),
        line({"messages": [1, {"role": None}]}, {"choices": [7]}), b'{"captureData": {"endpointInput": {"data": null}}, "eventMetadata": {"eventId": 1}}',
    ],
)  # fmt: skip
def test_broken_records_are_named_without_their_text(tmp_path: Path, broken: bytes) -> None:
    text = broken.replace(b"captureData", b"captureData", 1)
    (tmp_path / "a.jsonl").write_bytes(text + b"\n" + json.dumps({"captureData": SECRET}).encode() + b"\n" + line("x", "y") + b"\n")

    log = read_log(str(tmp_path))

    assert len(log.exchanges) >= 1 and len(log.broken) >= 1
    assert all(SECRET not in item.reason for item in log.broken)


def test_a_capture_without_output_is_an_error_of_the_model() -> None:
    record = json.loads(line("x", "y"))
    del record["captureData"]["endpointOutput"]

    assert exchange_of(json.dumps(record).encode(), PLACE).finish_reason == "error"
    with pytest.raises(CaptureError, match="lacks eventMetadata"):
        exchange_of(b'{"captureData": {}}', PLACE)


def test_real_captures_are_read(root: str, test_data: Path) -> None:
    folder = test_data / "aws-sagemaker-runtime"
    found = [json.loads(text)["record"] for text in (folder / "captured_data.jsonl").read_text().splitlines()]
    found += [json.loads(text)["json"] for text in (folder / "doc_examples.jsonl").read_text().splitlines()]
    captured = [record for record in found if "endpointInput" in record.get("captureData", {})]
    place = join(root, "capture", "my-endpoint", "AllTraffic", "2024", "01", "19", "19", "a.jsonl")
    store_for(place).write(place, b"".join(json.dumps(record).encode() + b"\n" for record in found))

    log = read_log(join(root, "capture"))

    assert {item.request_id for item in log.exchanges} == {record["eventMetadata"]["eventId"] for record in captured} and len(captured) == 5
    assert {(item.endpoint, item.variant) for item in log.exchanges} == {("my-endpoint", "AllTraffic")}
    first = next(item for item in log.exchanges if item.request_id == "feca1ab1-8025-47e3-8f6a-99e3fdd7b8d9")
    assert first.messages[0].content.startswith("132,25,113.2") and first.response == "0.01076381653547287"
    assert [item.reason for item in log.broken] == ["is no capture of a request (lacks endpointInput)", "request_id: Field required"]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_monitor.load.MAX_LINE_BYTES", 1000)
    (tmp_path / "a.jsonl").write_bytes(b"x" * 5000 + b"\n" + line("x", "y") + b"\n")

    found = list(records(str(tmp_path), log_files(str(tmp_path))))

    assert isinstance(found[0], BrokenLine) and found[0] == BrokenLine("a.jsonl", 1, "is longer than 1000 bytes")
    assert not isinstance(found[1], BrokenLine) and found[1].request_id == "event-1" and len(found) == 2
