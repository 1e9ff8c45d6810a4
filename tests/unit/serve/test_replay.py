"""`llmops-serve replay`: prompts of datasets, or a recording of traffic, sent by the openai client."""

import json
from pathlib import Path

import pytest

from llmops_serve.cli import main
from llmops_shared.contracts import DatasetManifest, Exchange, Report
from llmops_shared.contracts.dataset import Split, Tokenizer
from llmops_shared.contracts.exchange import Message
from llmops_shared.documents import read_document, sha256, store_part, write_document
from llmops_shared.rows import ChatRow


def write_dataset(folder, num_rows=6, view="chat"):
    rows = []
    for number in range(num_rows):
        messages = [
            Message(role="user", content=f"What does function {number} do?"),
            Message(role="assistant", content=f"It does {number}."),
        ]
        rows.append(ChatRow(id=sha256(str(number).encode())[:12], messages=messages, source="test", metadata={}, licence="none"))
    part = store_part(folder, "rows/test.jsonl", b"".join(row.model_dump_json().encode() + b"\n" for row in rows))
    manifest = DatasetManifest(
        name="questions",
        view=view,
        sources=[],
        counts=[],
        sequence_length=64,
        tokenizer=Tokenizer(files=[], vocab_size=1),
        splits={"test": Split(num_rows=num_rows, num_tokens=0, rows=[part], shards=[])},
        dead_letter=None,
    )
    write_document(folder, manifest)
    return sorted(row.id for row in rows)


def replay(folder, *words):
    return main(["replay", f"out={folder}/replay", "prompts.plain.max_tokens=4", f"prompts.plain.dataset={folder}/dataset", *words])


def figures(report):
    return {item.name: item for item in report.measurements}


def test_every_window_is_sent_measured_and_shown(url, packages, tmp_path, capsys):
    ids = write_dataset(str(tmp_path / "dataset"))
    second = [f"prompts.short.dataset={tmp_path}/dataset", "prompts.short.limit=2", "prompts.short.max_tokens=1"]

    assert replay(tmp_path, f"url={url}", *second) == 0

    report = read_document(str(tmp_path / "replay"), Report)
    assert json.loads(capsys.readouterr().out) == json.loads(report.to_json())
    found = figures(report)
    assert (found["plain.requests"].value, found["plain.errors"].value, found["short.requests"].value) == (6, 0, 2)
    assert 0 < found["plain.latency_p50"].low <= found["plain.latency_p50"].value <= found["plain.latency_p95"].value
    assert found["plain.first_token_p50"].value <= found["plain.latency_p50"].value
    assert found["answers_per_second"].value > 0
    assert report.reasons == ["All 8 requests were answered."]
    rows = [json.loads(line) for line in (tmp_path / "replay" / "rows.jsonl").read_text().splitlines()]
    assert [row["row_id"] for row in rows if row["window"] == "plain"] == ids
    assert [row["request_id"] for row in rows if row["window"] == "short"] == [f"short-{row_id}" for row_id in ids[:2]]
    assert {row["num_tokens"] for row in rows if row["window"] == "short"} == {1}
    assert "What does function 3 do?" in (tmp_path / "replay" / "report.html").read_text()


def test_failed_requests_are_counted_and_named(url, tmp_path):
    write_dataset(str(tmp_path / "dataset"))
    with_context = [f"prompts.rag.dataset={tmp_path}/dataset", "prompts.rag.retrieval=true", "prompts.rag.limit=3"]

    assert replay(tmp_path, f"url={url}", *with_context) == 0

    report = read_document(str(tmp_path / "replay"), Report)
    assert figures(report)["rag.errors"].value == 3
    assert "rag.latency_p50" not in figures(report)
    assert report.reasons == ["3 of 9 requests failed."]
    assert "endpoint tiny has no index" in (tmp_path / "replay" / "report.html").read_text()


def test_when_every_request_fails_there_is_no_report(url, tmp_path, capsys):
    write_dataset(str(tmp_path / "dataset"))

    assert replay(tmp_path, f"url={url}", "prompts.plain.max_tokens=10000") == 2

    assert "none of 6 requests was answered; the first error: UnprocessableEntityError" in capsys.readouterr().err
    assert not (tmp_path / "replay" / "report.json").exists()


def test_a_finished_replay_is_kept_without_a_server(url, tmp_path):
    write_dataset(str(tmp_path / "dataset"))
    assert replay(tmp_path, f"url={url}") == 0
    before = (tmp_path / "replay" / "report.json").read_bytes()

    assert replay(tmp_path, f"url={url}") == 0

    assert (tmp_path / "replay" / "report.json").read_bytes() == before


def test_a_server_that_is_not_there_is_named(tmp_path, capsys):
    write_dataset(str(tmp_path / "dataset"))

    assert replay(tmp_path, "url=http://127.0.0.1:9") == 2
    assert "http://127.0.0.1:9: does not answer as OpenAI's API does" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["url=http://127.0.0.1:9", "endpoint=x"]])
def test_exactly_one_of_url_and_endpoint_is_given(tmp_path, words, capsys):
    assert replay(tmp_path, *words) == 2
    assert "give either endpoint= (a server is started) or url= (one that runs already)" in capsys.readouterr().err


def test_a_split_that_is_missing_is_named_with_those_there_are(tmp_path, capsys):
    write_dataset(str(tmp_path / "dataset"))

    assert replay(tmp_path, "url=http://127.0.0.1:9", "prompts.plain.split=train") == 2
    assert "split 'train' is missing (has test)" in capsys.readouterr().err


def test_a_dataset_without_chats_is_refused(tmp_path, capsys):
    write_dataset(str(tmp_path / "dataset"), view="text")

    assert replay(tmp_path, "url=http://127.0.0.1:9") == 2
    assert "replay needs the view chat" in capsys.readouterr().err


def test_an_endpoint_that_cannot_be_served_ends_the_replay_with_its_reason(tmp_path, capfd):
    write_dataset(str(tmp_path / "dataset"))
    (tmp_path / "endpoint").mkdir()
    (tmp_path / "endpoint" / "endpoint.json").write_text("{}")

    assert replay(tmp_path, f"endpoint={tmp_path}/endpoint") == 2

    message = capfd.readouterr().err
    assert "is not a complete Endpoint" in message
    assert "the server ended with exit code 2 before it was ready; its message is above" in message


@pytest.mark.slow
def test_a_server_is_started_and_its_log_is_complete_at_the_end(packages, endpoint, tmp_path):
    ids = write_dataset(str(tmp_path / "dataset"), num_rows=10)

    assert replay(tmp_path, f"endpoint={endpoint}") == 0

    report = read_document(str(tmp_path / "replay"), Report)
    assert report.subjects["endpoint"].sha256 == sha256(endpoint / "endpoint.json")
    lines = [line for file in Path(packages / "exchanges").rglob("*.jsonl") for line in file.read_text().splitlines()]
    log = [Exchange.model_validate_json(line) for line in lines]
    for variant in ("production", "shadow"):
        mine = [
            one
            for one in log
            if one.variant == variant and one.endpoint_sha256 == report.subjects["endpoint"].sha256 and one.request_id.startswith("plain-")
        ]
        assert {one.request_id for one in mine} >= {f"plain-{row_id}" for row_id in ids}
        assert {one.metadata["window"] for one in mine} == {"plain"}


TRACE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,20,2
2023-11-16 18:17:05.9799600,30,3
"""


def replay_traffic(folder, *words):
    return main(["replay", f"out={folder}/replay", *words])


def test_a_recording_is_sent_when_it_came_and_as_long_as_it_was(url, tmp_path):
    (tmp_path / "trace.csv").write_text(TRACE)

    assert replay_traffic(tmp_path, f"url={url}", f"traffic={tmp_path}/trace.csv", "speed=4", "name=azure") == 0

    report = read_document(str(tmp_path / "replay"), Report)
    found = figures(report)
    assert (found["traffic.requests"].value, found["traffic.errors"].value, found["traffic.cut"].value) == (3, 0, 1)
    assert {"traffic.latency_p50", "traffic.latency_p99", "traffic.first_token_p99", "traffic.late_p99"} <= found.keys()
    rows = [json.loads(line) for line in (tmp_path / "replay" / "rows.jsonl").read_text().splitlines()]
    assert [row["num_tokens"] for row in rows] == [10, 2, 3]
    assert rows[0]["num_prompt_tokens"] > rows[2]["num_prompt_tokens"] > 0
    assert found["answers_per_second"].value < 3 / 0.5  # two seconds, four times as fast
    assert all(row["late_ms"] >= 0 for row in rows)
    assert report.reasons[1] == "1 requests were longer than the server takes, and were cut."


@pytest.mark.parametrize(
    ("trace", "words", "message"),
    [
        ("a,b\n1,2\n", [], "lacks the column TIMESTAMP (has a, b)"),
        (TRACE, ["traffic_skip=3"], "has no more than 3 requests"),
        (TRACE.replace("20,2", "many,2"), [], "trace.csv, line 3: invalid literal"),
        (TRACE, ["prompts.plain.dataset=x"], "give either prompts.NAME.dataset= or traffic="),
    ],
)
def test_a_recording_that_cannot_be_sent_is_refused(tmp_path, trace, words, message, capsys):
    (tmp_path / "trace.csv").write_text(trace)

    assert replay_traffic(tmp_path, "url=http://127.0.0.1:9", f"traffic={tmp_path}/trace.csv", *words) == 2
    assert message in capsys.readouterr().err


def test_real_traffic_is_sent(url, tmp_path, test_data):
    trace = test_data / "traffic-azure-llm" / "AzureLLMInferenceTrace_code.csv.gz"

    assert replay_traffic(tmp_path, f"url={url}", f"traffic={trace}", "speed=20", "traffic_skip=100", "traffic_limit=30") == 0

    found = figures(read_document(str(tmp_path / "replay"), Report))
    assert (found["traffic.requests"].value, found["traffic.errors"].value) == (30, 0)
