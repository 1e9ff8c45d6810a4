"""`llmops-monitor retrieval`: an index, and what it found for a window of traffic."""

import json
import logging
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llmops_monitor.load import asked, digest, log_of, read_log, select
from llmops_monitor.retrieval_config import RetrievalConfig
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.index import RetrievalIndex
from llmops_shared.contracts.report import Measurement, Report, Verdict
from llmops_shared.documents import document_uri, fetch_part, read_document, refer, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.page import render
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import store_for

if TYPE_CHECKING:
    from llmops_shared.retrieval.embedder import Embedder

logger = logging.getLogger(__name__)

LSA_DIMENSIONS = 384
NUM_TIMED = 200
"""Chunks embedded to measure the speed."""


class Chunk(NamedTuple):
    """A chunk of the index."""

    chunk_id: str
    document_id: str
    text: str


class Probe(NamedTuple):
    """A question and the document that answers it."""

    question: str
    document_id: str


def run(config: RetrievalConfig) -> Report:
    """Measures chunks, embedder, probes and traffic, and tests whether questions and scores drifted."""
    inputs = {"index": digest_of(config.index, RetrievalIndex)}
    probes = read_probes(config.probes) if config.probes else []
    if config.probes:
        inputs["probes"] = sha256(store_for(config.probes).read(config.probes))
    if config.dataset:
        inputs["dataset"] = digest_of(config.dataset, DatasetManifest)
    windows: tuple[list[Exchange], list[Exchange]] = ([], [])
    if config.has_traffic:
        log = read_log(log_of(config.endpoint, config.exchanges))
        windows = select(log, config.reference, "reference"), select(log, config.current, "current")
        inputs |= {name: digest(window, log.broken) for name, window in zip(("reference", "current"), windows, strict=True)}
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.publish import Findings, publish
    from llmops_shared.retrieval.embedder import open_embedder
    from llmops_shared.retrieval.lsa import fit_lsa

    place = document_uri(config.index, RetrievalIndex)
    document = read_document(place, RetrievalIndex)
    chunks = read_chunks(place, document)
    measurements = chunk_figures(chunks)
    if document.embedder.kind == "none":  # Kendra reads the text itself; drift of the questions is measured all the same
        embedder: Embedder = fit_lsa([chunk.text for chunk in chunks], LSA_DIMENSIONS, config.seed)[0]
    else:
        embedder = open_embedder(document.embedder, place)
        measurements += speed_figures(embedder, chunks)
    reasons: list[str] = []
    if probes:
        measurements += probe_figures(config, probes)
    if config.dataset:
        measurements += stale_figures(chunks, config.dataset)
    verdict: Verdict | None = None
    if config.has_traffic:
        measurements += trace_figures(windows[1], config.min_score)
        verdict, reasons, found = question_drift(windows, embedder, config)
        measurements += found
    summary = f"{document.name}: {document.num_chunks} chunks of {document.num_documents} documents"
    if config.has_traffic:
        summary += f"; questions of {asked(config.current)} against those of {asked(config.reference)}"
    page = render(f"Retrieval: {config.name}", summary, measurements, verdict, reasons)
    subjects = {"index": refer(config.index, RetrievalIndex, config.out)}
    return publish(
        config, Findings("retrieval", config.name, subjects, measurements, verdict, reasons, {"html": ("report.html", page.encode())})
    )


def read_chunks(place: str, document: RetrievalIndex) -> list[Chunk]:
    """The chunks of an index."""
    with fetch_part(place, document.chunks).open(encoding="utf-8") as file:
        return [Chunk(row["chunk_id"], row["document_id"], row["text"]) for row in map(json.loads, file)]


def read_probes(uri: str) -> list[Probe]:
    """The probe set. Raises LlmopsError for a line that is no probe, and for none at all."""
    probes = []
    for line_number, line in enumerate(store_for(uri).read(uri).splitlines(), 1):
        try:
            row = json.loads(line)
            probes.append(Probe(str(row["question"]), str(row["document_id"])))
        except (ValueError, KeyError, TypeError) as error:
            raise LlmopsError(f'{uri} line {line_number}: is no probe; write {{"question": "...", "document_id": "..."}}') from error
    if not probes:
        raise LlmopsError(f"{uri}: holds no probe")
    return probes


def chunk_figures(chunks: Sequence[Chunk]) -> list[Measurement]:
    """Lengths of the chunks in words."""
    if not chunks:
        return [plain("chunks", 0, 0)]
    sizes = np.array([len(chunk.text.split()) for chunk in chunks])
    low, middle, high = np.percentile(sizes, [5, 50, 95])
    names = {"p5": low, "p50": middle, "p95": high, "max": sizes.max()}
    return [
        plain("chunks", len(chunks), len(chunks)),
        *(plain(f"chunk_words/{name}", float(v), len(chunks), "words") for name, v in names.items()),
    ]


def speed_figures(embedder: "Embedder", chunks: Sequence[Chunk]) -> list[Measurement]:
    """Chunks embedded in a second, and how many have no word the embedder knows."""
    texts = [chunk.text for chunk in chunks[:NUM_TIMED]]
    if not texts:
        return []
    begin = time.perf_counter()
    vectors = embedder.embed(texts)
    seconds = time.perf_counter() - begin
    empty = float((np.abs(vectors).sum(axis=1) == 0).mean())
    speed = plain("embedding_chunks_per_s", len(texts) / max(seconds, 1e-9), len(texts), "chunks/s", "higher")
    return [speed, plain("embedding_empty_share", empty, len(texts), better="lower")]


def probe_figures(config: RetrievalConfig, probes: Sequence[Probe]) -> list[Measurement]:
    """Recall@k and mean reciprocal rank over documents: a document is found when one of its chunks is."""
    from llmops_shared.retrieval.search import open_index

    with open_index(config.index) as searcher:
        results = [searcher.search(probe.question, config.num_chunks) for probe in probes]
    ranks = []
    for probe, result in zip(probes, results, strict=True):
        documents = list(dict.fromkeys(chunk.document_id for chunk in result.chunks))
        ranks.append(documents.index(probe.document_id) + 1 if probe.document_id in documents else np.inf)
    places = np.array(ranks, dtype=np.float64)
    found = [
        plain(f"recall_at_{config.num_chunks}", float(np.isfinite(places).mean()), len(probes), better="higher"),
        plain("recall_at_1", float((places <= 1).mean()), len(probes), better="higher"),
        plain("mrr", float((1 / places).mean()), len(probes), better="higher"),
    ]
    times = [("embedding_ms", [result.embedding_ms for result in results]), ("search_ms", [result.search_ms for result in results])]
    return found + [plain(f"{name}/p50", float(np.median(values)), len(values), "ms", "lower") for name, values in times]


def stale_figures(chunks: Sequence[Chunk], dataset: str) -> list[Measurement]:
    """Share of chunks whose text is not in their document any more, and of documents that have no chunk."""
    place = document_uri(dataset, DatasetManifest)
    documents: dict[str, str] = {}
    for split in read_document(place, DatasetManifest).splits.values():
        for part in split.rows:
            with fetch_part(place, part).open(encoding="utf-8") as file:
                documents |= {row["id"]: squeezed(row.get("text", "")) for row in map(json.loads, file)}
    stale = sum(not holds(documents.get(chunk.document_id), chunk.text) for chunk in chunks)
    missing = len(documents.keys() - {chunk.document_id for chunk in chunks})
    return [
        plain("stale_chunk_share", stale / max(1, len(chunks)), len(chunks), better="lower"),
        plain("unindexed_document_share", missing / max(1, len(documents)), len(documents), better="lower"),
    ]


def holds(document: str | None, chunk: str) -> bool:
    """Whether a document still has what a chunk says: nine of ten of its lines, for a title is set before each chunk."""
    if document is None:
        return False
    lines = [squeezed(line) for line in chunk.splitlines() if line.strip()]
    return sum(line in document for line in lines) >= 0.9 * len(lines) - 1 and (len(lines) < 2 or lines[-1] in document)


def squeezed(text: str) -> str:
    """A text with single spaces."""
    return re.sub(r"\s+", " ", text).strip()


def trace_figures(exchanges: Sequence[Exchange], min_score: float) -> list[Measurement]:
    """Hit rate, scores, sizes and times of what retrieval did for the requests that asked for it."""
    traces = [exchange.retrieval for exchange in exchanges if exchange.retrieval is not None]
    if not traces:
        return [plain("retrieval_share", 0.0, len(exchanges))]
    # the nearest chunk is not always the first: words and rerankers order otherwise
    best = np.array([max((chunk.score for chunk in trace.chunks), default=-1.0) for trace in traces])
    sizes = [chunk.num_tokens for trace in traces for chunk in trace.chunks] or [0]
    found = [
        plain("retrieval_share", len(traces) / len(exchanges), len(exchanges)),
        plain("hit_rate", float((best >= min_score).mean()), len(traces), better="higher"),
        plain("retrieval_empty_share", float(np.mean([not trace.chunks for trace in traces])), len(traces), better="lower"),
        plain("retrieval_refused_share", float(np.mean([trace.refused for trace in traces])), len(traces), better="lower"),
    ]
    series = {
        "best_score": (best, ""), "retrieved_chunk_tokens": (np.array(sizes), "tokens"),
        "embedding_question_ms": (np.array([trace.embedding_ms for trace in traces]), "ms"),
        "search_question_ms": (np.array([trace.search_ms for trace in traces]), "ms"),
    }  # fmt: skip
    if rerank_ms := [trace.rerank_ms for trace in traces if trace.rerank_ms is not None]:
        series["rerank_question_ms"] = (np.array(rerank_ms), "ms")
    for name, (values, unit) in series.items():
        found += [plain(f"{name}/p{share}", float(np.percentile(values, share)), len(values), unit) for share in (10, 50, 95)]
    return found


def question_drift(
    windows: tuple[list[Exchange], list[Exchange]], embedder: "Embedder", config: RetrievalConfig
) -> tuple[Verdict, list[str], list[Measurement]]:
    """Whether the questions' embeddings (centroid, domain classifier) or the best scores moved, corrected for one another (Holm)."""
    from llmops_monitor.classifier import separate_vectors
    from llmops_monitor.two_samples import auc_of, compare_samples, distance_of, holm
    from llmops_monitor.windows import independent

    samples = independent(*windows, "prompt")
    if min(len(samples.reference), len(samples.current)) < config.min_rows:
        reason = (
            f"The windows hold {len(samples.reference)} (reference) and {len(samples.current)} (current) different questions; "
            f"{config.min_rows} are needed in each (min_rows)."
        )
        return "not_enough_data", [reason, *samples.remarks], []
    vectors = [np.asarray(embedder.embed_questions([text.content for text in window]), dtype=np.float64) for window in samples[:2]]
    num_permutations = int(np.ceil(2 * 3 / config.alpha))
    separation = separate_vectors(vectors[0], vectors[1], num_permutations, 0.95, config.seed)
    moved, centroid_p = centroid_shift(vectors[0], vectors[1], num_permutations, config.seed)
    scores = [
        np.array([max(chunk.score for chunk in trace.chunks) for item in window if (trace := item.retrieval) and trace.chunks])
        for window in windows
    ]
    tests = [("centroid", centroid_p, True), ("classifier", separation.p_value, separation.auc.value >= auc_of(config.min_shift))]
    if min(map(len, scores)) >= config.min_rows:
        shift = compare_samples(scores[0], scores[1])
        tests.append(("best_score", shift.p_value, shift.distance >= distance_of(config.min_shift)))
    corrected = dict(zip((name for name, _, _ in tests), holm([p for _, p, _ in tests]), strict=True))
    matters = {name: flag for name, _, flag in tests}
    matters["centroid"] = matters["classifier"]  # a centroid moves by nothing that counts when the windows cannot be told apart
    drifted = [name for name, p in corrected.items() if p < config.alpha and matters[name]]
    auc = separation.auc
    words = {
        "centroid": f"The centroid of the questions' embeddings moved by {moved:.3f} (cosine distance)",
        "classifier": f"A classifier on embeddings has AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})",
        "best_score": f"Best scores have mean {scores[1].mean():.3f} instead of {scores[0].mean():.3f}"
        if "best_score" in corrected
        else "",
    }
    reasons = [f"{words[name]}, corrected p = {p:.2g}." for name, p in corrected.items() if not drifted or name in drifted]
    num_rows = len(vectors[0]) + len(vectors[1])
    figures = [plain("embedding_centroid_distance", moved, num_rows), plain("embedding_classifier_auc", separation.auc.value, num_rows)]
    figures += [plain(f"p_value/{name}", p, num_rows) for name, p in corrected.items()]
    return "drift" if drifted else "no_drift", reasons + samples.remarks, figures


def centroid_shift(
    reference: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", current: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    num_permutations: int, seed: int,
) -> tuple[float, float]:  # fmt: skip
    """Cosine distance of the mean embeddings, and the share of random relabellings whose means are as far apart."""
    both = np.concatenate([reference, current])
    num_reference, num_current = len(reference), len(current)
    random = np.random.default_rng(seed)
    labels = random.permuted(np.tile(np.repeat([0.0, 1.0], [num_reference, num_current]), (num_permutations, 1)), axis=1)
    sums = labels @ both
    gaps = np.linalg.norm(sums / num_current - (both.sum(axis=0) - sums) / num_reference, axis=1)
    before, now = reference.mean(axis=0), current.mean(axis=0)
    gap = np.linalg.norm(now - before)
    lengths = np.linalg.norm(before) * np.linalg.norm(now)
    distance = 1 - float(before @ now / lengths) if lengths else 0.0
    return distance, (1 + int((gaps >= gap - 1e-12).sum())) / (1 + num_permutations)


def plain(name: str, value: float, num_rows: int, unit: str = "", better: str = "neither") -> Measurement:
    """A figure without an interval."""
    return Measurement.model_validate(
        {"name": name, "value": value, "low": None, "high": None, "confidence": None, "num_rows": num_rows, "better": better, "unit": unit}
    )
