import json
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.lineage import Lineage
from llmops_shared.contracts import DatasetManifest, Endpoint, Exchange, ModelPackage, Report, RetrievalIndex, TrainingRun
from llmops_shared.contracts.dataset import Source, Split, Tokenizer
from llmops_shared.contracts.endpoint import Capture, Retrieval, Variant
from llmops_shared.contracts.index import Embedder, VectorStore
from llmops_shared.documents import refer, sha256, store_part, write_document
from llmops_shared.store import join, store_for
from support.traffic import exchange, good, questions, write_log

ROWS = questions()[:5]


def dataset(root: str, name: str) -> None:
    content = "".join(row.model_dump_json() + "\n" for row in ROWS).encode()
    part = store_part(join(root, name), "train/rows.jsonl", content)
    source = Source(uri="s3://raw/handbook.pdf", kind="jsonl", num_records=5, sha256="a" * 64, licence="CC-BY-4.0")
    manifest = DatasetManifest(
        name=name, view="chat", sources=[source], counts=[], sequence_length=256, tokenizer=Tokenizer(files=[], vocab_size=4096),
        splits={"train": Split(num_rows=5, num_tokens=0, rows=[part], shards=[])}, dead_letter=None,
    )  # fmt: skip
    write_document(join(root, name), manifest)


def training(root: str, name: str, data: str, parent: str | None) -> None:
    folder = join(root, name)
    run = TrainingRun(
        name=name, method="lora" if parent else "pretrain", dataset=refer(join(root, data), DatasetManifest, folder),
        parent=refer(join(root, parent), TrainingRun, folder) if parent else None, base_model=None, weights=[], num_parameters=1,
        num_trainable_parameters=1, num_steps=7, num_tokens=9, seed=0, metrics={}, mlflow_run_id=None, versions={},
    )  # fmt: skip
    write_document(folder, run)


def build(root: str) -> Exchange:
    """A whole chain from raw text to an answer; returns the answer."""
    dataset(root, "text")
    dataset(root, "chat")
    training(root, "base", "text", None)
    training(root, "tuned", "chat", "base")
    evaluation = Report(
        report="evaluation", name="evaluation", subjects={}, measurements=[], verdict=None, reasons=[], parts={}, mlflow_run_id=None
    )
    write_document(join(root, "evaluation"), evaluation)
    package = ModelPackage(
        name="tuned", run=refer(join(root, "tuned"), TrainingRun, join(root, "package")),
        evaluation=refer(join(root, "evaluation"), Report, join(root, "package")), layout="merged", files=[],
        architecture="LlamaForCausalLM", num_parameters=1, max_context_tokens=256, dtype="float32", registered_model=None,
    )  # fmt: skip
    write_document(join(root, "package"), package)
    chunks = [{"chunk_id": f"c{number}", "document_id": row.id, "text": "…"} for number, row in enumerate(ROWS)]
    part = store_part(join(root, "index"), "chunks.jsonl", "".join(json.dumps(chunk) + "\n" for chunk in chunks).encode())
    index = RetrievalIndex(
        name="index", dataset=refer(join(root, "text"), DatasetManifest, join(root, "index")), num_documents=5, num_chunks=5,
        max_chunk_tokens=99, chunks=part, embedder=Embedder(kind="lsa", model="", files=[], num_dimensions=8),
        store=VectorStore(uri="pgserver:pg", table="t"),
    )  # fmt: skip
    write_document(join(root, "index"), index)
    variant = Variant(name="production", package=refer(join(root, "package"), ModelPackage, join(root, "endpoint-1")))
    endpoint = Endpoint(
        name="assistant", generation=1, previous=None, reason="deploy", evidence=None, variants=[variant],
        retrieval=Retrieval(index=refer(join(root, "index"), RetrievalIndex, join(root, "endpoint-1"))), capture=Capture(uri="../exchanges"),
    )  # fmt: skip
    write_document(join(root, "endpoint-1"), endpoint)
    first = refer(join(root, "endpoint-1"), Endpoint, join(root, "endpoint-2"))
    write_document(join(root, "endpoint-2"), endpoint.model_copy(update={"generation": 2, "previous": first, "reason": "shadow"}))
    trace = {
        "index_sha256": sha256(index.to_json()), "embedding_ms": 1, "search_ms": 1,
        "chunks": [{"chunk_id": "c3", "score": 0.9, "num_tokens": 5}, {"chunk_id": "c1", "score": 0.5, "num_tokens": 5}],
    }  # fmt: skip
    answer = exchange(
        ROWS[0],
        7,
        good,
        request_id="1e5",
        endpoint_sha256=sha256(endpoint.to_json()),
        package_sha256=sha256(package.to_json()),
        retrieval=trace,
    )
    write_log(join(root, "exchanges"), [answer, exchange(ROWS[1], 8, good)])
    return answer


def test_one_command_walks_from_an_answer_to_its_raw_documents(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    build(root)
    endpoint = join(root, "endpoint-2")  # a later generation than the one that answered

    code = main(["why", "1e5", f"endpoint={endpoint}"])

    out, log = capsys.readouterr()
    lineage = Lineage.model_validate_json(out)
    assert code == 0 and lineage.gaps == []
    assert [(link.kind, link.name, link.of) for link in lineage.links] == [
        ("exchange", "1e5 (production)", ""),
        ("endpoint", "assistant", "exchange 1e5 (production)"),
        ("package", "tuned", "endpoint assistant"),
        ("evaluation", "evaluation", "package tuned"),
        ("run", "tuned", "package tuned"),
        ("dataset", "chat", "run tuned"),
        ("source", "s3://raw/handbook.pdf", "dataset chat"),
        ("run", "base", "run tuned"),
        ("dataset", "text", "run base"),
        ("source", "s3://raw/handbook.pdf", "dataset text"),
        ("index", "index", "exchange 1e5 (production)"),
        ("dataset", "text", "index index"),
        ("chunk", "c3", "index index"),
        ("chunk", "c1", "index index"),
    ]
    assert lineage.links[1].facts["generation"] == "1"
    assert lineage.links[6].facts == {"what": "jsonl", "records": "5", "licence": "CC-BY-4.0"}
    assert (lineage.links[-2].uri, lineage.links[-2].facts["row_id"]) == ("python", ROWS[3].id)
    assert "run base behind run tuned" in log
    assert not [row for row in ROWS for message in row.messages if len(message.content) > 12 and message.content in out + log]


@pytest.mark.parametrize(
    ("broken", "gap"),
    [
        ("tuned/run.json", "tuned/run.json: there is no such TrainingRun"),
        ("chat/dataset.json", "chat/dataset.json: there is no such DatasetManifest"),
        ("endpoint-1/endpoint.json", "endpoint-1/endpoint.json: there is no such Endpoint"),
        ("index/chunks.jsonl", "chunks.jsonl: there is no such file"),
    ],
)
def test_a_missing_document_is_a_gap_and_the_rest_is_walked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str, gap: str
) -> None:
    build(str(tmp_path))
    (tmp_path / broken).unlink()

    code = main(["why", "1e5", f"endpoint={tmp_path / 'endpoint-2'}"])

    lineage = Lineage.model_validate_json(capsys.readouterr().out)
    assert code == 3
    assert len(lineage.gaps) == 1 and gap in lineage.gaps[0]


def test_a_document_that_changed_is_a_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(str(tmp_path))
    place = str(tmp_path / "package" / "package.json")
    store_for(place).write(place, store_for(place).read(place).replace(b"float32", b"float16"))

    assert main(["why", "1e5", f"endpoint={tmp_path / 'endpoint-2'}"]) == 3
    assert "package.json: changed since it was referred to" in Lineage.model_validate_json(capsys.readouterr().out).gaps[0]


def test_an_unknown_request_or_another_endpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = build(str(tmp_path))
    endpoint = tmp_path / "endpoint-2"
    write_log(str(tmp_path / "exchanges"), [answer.model_copy(update={"request_id": "stranger", "endpoint_sha256": "9" * 64})], "b.jsonl")

    codes = [main(["why", words, f"endpoint={endpoint}"]) for words in ("request-none", "stranger")]

    out, told = capsys.readouterr()
    assert codes == [2, 3]
    assert "has no answer to request request-none" in told
    assert (
        "neither it nor an earlier generation (generation 2, generation 1) has the digest 999999999999"
        in Lineage.model_validate_json(out).gaps[0]
    )


def test_broken_lines_do_not_hide_an_answer(tmp_path: Path) -> None:
    build(str(tmp_path))
    (tmp_path / "exchanges" / "z.jsonl").write_text('{"request_id": "1e5"\n1e5 not json\n')

    assert main(["why", "request_id='1e5'", f"endpoint={tmp_path / 'endpoint-2'}"]) == 0


def test_an_answer_that_sagemaker_captured_is_followed_as_far_as_its_capture_goes(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    build(root)
    record = {
        "captureData": {
            "endpointInput": {"observedContentType": "application/json", "mode": "INPUT", "data": '{"inputs": "Why?"}', "encoding": "JSON"},
            "endpointOutput": {"observedContentType": "application/json", "mode": "OUTPUT", "data": '{"generated_text": "So."}', "encoding": "JSON"},
        },
        "eventMetadata": {"eventId": "e-1", "inferenceId": "mine-7", "inferenceTime": "2026-11-25T10:00:00Z"}, "eventVersion": "0",
    }  # fmt: skip
    place = join(root, "capture/assistant/production/2026/11/25/10/a.jsonl")
    store_for(place).write(place, json.dumps(record).encode() + b"\n")

    code = main(["why", "mine-7", f"endpoint={join(root, 'endpoint-2')}", f"exchanges={join(root, 'capture')}"])

    lineage = Lineage.model_validate_json(capsys.readouterr().out)
    assert code == 3 and len(lineage.gaps) == 1
    assert "capture names the variant production, and neither the generation nor the package" in lineage.gaps[0]
    assert "behind generation 2" in lineage.gaps[0] and "2026-11-25T10:00:00+00:00" in lineage.gaps[0]
    assert [link.kind for link in lineage.links[:5]] == ["exchange", "endpoint", "package", "evaluation", "run"]
    assert lineage.links[-1].kind == "source"
