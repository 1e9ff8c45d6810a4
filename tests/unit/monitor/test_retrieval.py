"""In a file of its own: it starts the embedded PostgreSQL."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmops_monitor import retrieval
from llmops_monitor.cli import main
from llmops_monitor.retrieval import centroid_shift
from llmops_monitor.retrieval_config import RetrievalConfig
from llmops_shared.contracts import Exchange, Reference, Report, RetrievalIndex, index
from llmops_shared.contracts.exchange import RetrievalTrace, RetrievedChunk
from llmops_shared.documents import store_part, write_document
from llmops_shared.retrieval.lsa import fit_lsa
from support.chunks import chunk_lines, chunks_of, fill_store
from support.text_dataset import text_row, write_text_dataset
from support.traffic import code_questions, exchange, good, questions, write_log

DOCUMENTS = {row.metadata["question"] + row.id: row.messages[1].content for row in questions()[:200] if row.metadata["question"] == "0"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of summaries of functions, as preprocess writes it."""
    folder = tmp_path_factory.mktemp("library")
    texts, names = list(DOCUMENTS.values()), [f"row-{name}" for name in DOCUMENTS]
    embedder, vectors = fit_lsa(texts, 96, seed=0)
    (folder / "files").mkdir()
    chunks = chunks_of(texts, names)
    document = RetrievalIndex(
        name="library", dataset=Reference(uri="../text/dataset.json", sha256="0" * 64), num_documents=len(texts), num_chunks=len(texts),
        max_chunk_tokens=96, chunks=store_part(str(folder), "chunks.jsonl", chunk_lines(chunks)),
        embedder=index.Embedder(kind="lsa", model="", num_dimensions=96,
                                files=[store_part(str(folder), f"embedder/{path.name}", path) for path in embedder.save(folder / "files")]),
        store=index.VectorStore(uri="pgserver:pgdata", table="library"),
    )  # fmt: skip
    fill_store("pgserver:pgdata", str(folder), "library", chunks, vectors)
    write_document(str(folder), document)
    return str(folder)


def traced(rows: Sequence[object], start: int, score: float, window: str) -> list[Exchange]:
    """Requests that retrieval answered with a best score about `score`."""
    draw = np.random.default_rng(start)
    found = []
    for number, row in enumerate(rows):
        chunks = [RetrievedChunk(chunk_id="a:0", score=float(score + draw.normal(0, 0.05)), num_tokens=40 + number % 9)]
        trace = RetrievalTrace(index_sha256="0" * 64, chunks=chunks, embedding_ms=0.4, search_ms=0.9)
        found.append(exchange(row, start + number, good, retrieval=trace, metadata={"window": window}))  # type: ignore[arg-type]
    return found


def figures(report: Report) -> dict[str, float]:
    return {item.name: item.value for item in report.measurements}


WINDOWS = {"reference": {"metadata": {"window": "before"}}, "current": {"metadata": {"window": "now"}}}


def test_an_index_is_measured_with_probes_and_against_its_documents(tmp_path: Path, library: str) -> None:
    probes = tmp_path / "probes.jsonl"
    names = list(DOCUMENTS)[:20]
    probes.write_text("".join(json.dumps({"question": DOCUMENTS[name], "document_id": f"row-{name}"}) + "\n" for name in names))
    kept = {name: text for place, (name, text) in enumerate(DOCUMENTS.items()) if place % 4}
    write_text_dataset(
        str(tmp_path / "text"), {"train": [*(text_row(name, text) for name, text in kept.items()), text_row("new", "Something new.")]}
    )

    report = retrieval.run(RetrievalConfig(out=str(tmp_path / "report"), index=library, probes=str(probes), dataset=str(tmp_path / "text")))

    measured = figures(report)
    assert report.verdict is None
    assert measured["recall_at_5"] >= 0.9 and measured["mrr"] >= 0.8 and measured["recall_at_1"] <= measured["recall_at_5"]
    assert measured["stale_chunk_share"] == pytest.approx(0.25, abs=0.02) and measured["unindexed_document_share"] == pytest.approx(
        1 / (len(kept) + 1)
    )
    assert measured["chunks"] == len(DOCUMENTS) and measured["chunk_words/p50"] > 3 and measured["embedding_chunks_per_s"] > 100


def test_questions_of_another_kind_are_drift_and_of_the_same_are_not(tmp_path: Path, library: str) -> None:
    rows = questions()
    log = traced(rows[:120], 0, 0.6, "before") + traced(rows[120:240], 500, 0.6, "now")
    log += traced(code_questions()[:60], 1000, 0.25, "code") + traced(rows[300:320], 2000, 0.6, "few")
    write_log(str(tmp_path / "log"), log)

    def run(window: str) -> Report:
        settings = {"out": str(tmp_path / window), "index": library, "exchanges": str(tmp_path / "log"), **WINDOWS}
        return retrieval.run(RetrievalConfig.model_validate({**settings, "current": {"metadata": {"window": window}}}))

    same, other, few = run("now"), run("code"), run("few")

    assert (same.verdict, other.verdict, few.verdict) == ("no_drift", "drift", "not_enough_data")
    assert figures(same)["hit_rate"] == 1 and figures(other)["hit_rate"] < 0.4 and figures(same)["retrieval_share"] == 1
    assert (
        figures(other)["embedding_classifier_auc"] > 0.8
        and figures(other)["embedding_centroid_distance"] > figures(same)["embedding_centroid_distance"]
    )
    assert any(reason.startswith("Best scores have mean 0.2") for reason in other.reasons)
    assert figures(same)["best_score/p50"] == pytest.approx(0.6, abs=0.05)


def test_relabelled_centroids_are_as_far_apart_without_drift() -> None:
    draw = np.random.default_rng(1)

    p_values = [centroid_shift(draw.normal(size=(60, 20)), draw.normal(size=(80, 20)), 500, seed)[1] for seed in range(40)]

    assert 0.3 < np.mean(p_values) < 0.7
    assert centroid_shift(draw.normal(size=(60, 20)), draw.normal(0.5, 1, size=(80, 20)), 500, 0)[1] < 0.01


@pytest.mark.parametrize(
    ("text", "told"), [('{"question": "x"}', "line 1: is no probe"), ("", "holds no probe"), ("[1]", "line 1: is no probe")]
)
def test_bad_probes_are_named(tmp_path: Path, library: str, text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "probes.jsonl").write_text(text)

    code = main(["retrieval", f"index={library}", f"probes={tmp_path / 'probes.jsonl'}", f"out={tmp_path / 'report'}"])

    assert code == 2 and told in capsys.readouterr().err
