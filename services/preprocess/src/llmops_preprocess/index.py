"""`llmops-preprocess index`: chunks a text dataset, embeds the chunks and stores them where `serve` searches.

Only what a kept index needs is imported here; numpy, PostgreSQL's driver and the embedders come when there is work.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_preprocess.index_config import DropConfig, IndexConfig
from llmops_shared.contracts import DatasetManifest, Part, Platform, RetrievalIndex, index
from llmops_shared.documents import document_uri, read_document, refer, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.retrieval.location import check_store, store_uri
from llmops_shared.store import folder_of, store_for
from llmops_shared.tracking import tracked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmops_preprocess.chunking.chunk import Chunk
    from llmops_shared.retrieval.store import StoredChunk
    from llmops_shared.rows import TextRow

    Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)

MAX_TITLE = 200  # characters, for citations


def build_index(config: IndexConfig) -> RetrievalIndex:
    """Writes chunks, embedder and vectors, measures the search, and writes the RetrievalIndex last.

    Until then nothing names the new generation, and the one before is searched; a run that was cut off goes on where it was.
    """
    from llmops_preprocess.index_embed import model_digest

    dataset_uri = document_uri(config.dataset, DatasetManifest)
    inputs = {"dataset": digest_of(dataset_uri, DatasetManifest), **model_digest(config.embedder)}
    if config.previous:
        inputs["previous"] = digest_of(config.previous, RetrievalIndex)
    kept = finished(config, RetrievalIndex, inputs)
    if kept is not None:
        return kept

    from llmops_preprocess.index_embed import describe_embedder, embed_chunks, forget_parts
    from llmops_preprocess.index_previous import read_previous
    from llmops_preprocess.index_probe import chunk_figures, probe
    from llmops_shared.retrieval.search import Searcher
    from llmops_shared.retrieval.store import open_store

    place = store_place(config)
    manifest = read_document(dataset_uri, DatasetManifest)
    rows, chunks = read_chunks(config, manifest, dataset_uri)
    stored = [stored_chunk(row, chunk) for row, chunk in zip(rows_of(rows, chunks), chunks, strict=True)]
    previous = read_previous(config, inputs) if config.previous else None

    begin = time.perf_counter()
    embedded = embed_chunks(config, stored, previous)
    embedding_s = time.perf_counter() - begin
    logger.info("embedded %d of %d chunks in %.1f s", embedded.num_embedded, len(chunks), embedding_s)

    name = config.name or manifest.name
    chunks_part = store_part(config.out, "chunks.jsonl", chunk_lines(stored))
    document = RetrievalIndex(
        name=name,
        dataset=refer(dataset_uri, DatasetManifest, config.out),
        num_documents=len(rows),
        num_chunks=len(chunks),
        max_chunk_tokens=config.max_chunk_tokens,
        chunks=chunks_part,
        embedder=describe_embedder(config, embedded.embedder),
        store=index.VectorStore(uri=place, table=table_name(name, chunks_part, embedded.vectors)),
        chunker=config.chunker,
        vectors=keep_vectors(config, embedded.vectors),
        update=previous.update(stored, embedded.num_embedded) if previous else None,
    )
    store = open_store(place, config.out, create=True)
    with Searcher(document, embedded.embedder, store) as searcher:
        store.write(document.store.table, stored, embedded.vectors)
        figures = probe(searcher, rows, embedded, config.num_probes, config.seed)
    figures |= {**chunk_figures(chunks), "num_documents": len(rows), "num_chunks": len(chunks), "embedding_s": embedding_s}
    if document.update:
        figures |= {key: value for key, value in document.update.model_dump().items() if key.startswith("num_")}
    logger.info("probe: %s", ", ".join(f"{key} {value:.3g}" for key, value in figures.items()))

    with tracked(config.tracking, "index", name) as run:
        run.parameters(config.model_dump(mode="json", exclude={"tracking"}))
        run.dataset(manifest, dataset_uri, inputs["dataset"], "index")
        run.metrics(figures)
    write_document(config.out, document)
    forget_parts(config.out)
    return document


def plan_index(config: IndexConfig) -> dict[str, Any]:
    """What a run would do, for `--dry-run`: documents, chunks, what of them is new, and where they would go. Nothing is embedded."""
    from llmops_preprocess.index_embed import model_digest
    from llmops_preprocess.index_previous import read_previous
    from llmops_preprocess.index_probe import chunk_figures

    dataset_uri = document_uri(config.dataset, DatasetManifest)
    place, manifest = store_place(config), read_document(dataset_uri, DatasetManifest)
    rows, chunks = read_chunks(config, manifest, dataset_uri)
    plan: dict[str, Any] = {"store": place, "num_documents": len(rows), "num_chunks": len(chunks), **chunk_figures(chunks)}
    if config.previous:
        stored = [stored_chunk(row, chunk) for row, chunk in zip(rows_of(rows, chunks), chunks, strict=True)]
        previous = read_previous(config, model_digest(config.embedder))
        update = previous.update(stored, sum(chunk.text not in previous.places for chunk in stored))
        plan |= {key: value for key, value in update.model_dump().items() if key.startswith("num_")}
    return plan


def drop_index(config: DropConfig) -> None:
    """Removes the generation of an index from its store. Servers that have it open answer no question with context any more."""
    from llmops_shared.retrieval.search import chunk_ids
    from llmops_shared.retrieval.store import open_store

    place = document_uri(config.index, RetrievalIndex)
    document = read_document(place, RetrievalIndex)
    store = open_store(document.store.uri, folder_of(place))
    try:
        store.drop(document.store.table, chunk_ids(document, place))
    finally:
        store.close()
    logger.info("dropped %s from %s", document.store.table, document.store.uri)


def store_place(config: IndexConfig) -> str:
    """The URI of the store. Raises LlmopsError when the platform has none."""
    platform = read_platform(config.platform) if config.platform else None
    place = store_uri(config.store, platform)
    check_store(place, config.out)
    return place


def read_platform(uri: str) -> Platform:
    """What `terraform output -json` printed, or a Platform document."""
    content = store_for(uri).read(uri)
    try:
        found = json.loads(content)
        return Platform.model_validate(found) if isinstance(found, dict) and "kind" in found else Platform.from_outputs(content)
    except ValueError as error:
        raise LlmopsError(
            f"platform {uri}: is no Platform document ({str(error).splitlines()[0]}); give what terraform output -json printed"
        ) from error


def read_chunks(config: IndexConfig, manifest: DatasetManifest, dataset_uri: str) -> "tuple[list[TextRow], list[Chunk]]":
    """The rows and their chunks, in order."""
    from llmops_preprocess.chunking.chunk import chunk_rows
    from llmops_preprocess.chunking.cutters import cutter
    from llmops_preprocess.index_rows import Tokens, read_rows

    rows = read_rows(manifest, dataset_uri, config.splits)
    tokens = Tokens(manifest, dataset_uri)
    overlap_sentences = 1 if config.overlap_sentences is None else config.overlap_sentences
    cut = cutter(config.chunker, tokens.spans, overlap_sentences, config.overlap_tokens or 0)
    chunks = chunk_rows(rows, tokens.count, config.max_chunk_tokens, cut)
    logger.info("cut %d documents into %d chunks", len(rows), len(chunks))
    return rows, chunks


def rows_of(rows: "Sequence[TextRow]", chunks: "Sequence[Chunk]") -> "list[TextRow]":
    """The row of each chunk."""
    by_id = {row.id: row for row in rows}
    return [by_id[chunk.document_id] for chunk in chunks]


def stored_chunk(row: "TextRow", chunk: "Chunk") -> "StoredChunk":
    """A chunk with what is cited and filtered by."""
    from llmops_preprocess.chunking.chunk import name_of, split_title
    from llmops_shared.retrieval.store import StoredChunk

    title = (name_of(row) or split_title(row)[0])[:MAX_TITLE]
    return StoredChunk(chunk.chunk_id, chunk.document_id, chunk.text, row.source, title, row.metadata)


def chunk_lines(chunks: "Sequence[StoredChunk]") -> bytes:
    """The chunks as JSON lines."""
    return "".join(json.dumps(chunk._asdict(), ensure_ascii=False) + "\n" for chunk in chunks).encode()


def keep_vectors(config: IndexConfig, vectors: "Floats | None") -> Part | None:
    """The vectors as a part of the document."""
    if vectors is None or not config.keep_vectors:
        return None
    from llmops_preprocess.index_embed import array_bytes

    return store_part(config.out, "vectors.npy", array_bytes(vectors))


def table_name(name: str, chunks: Part, vectors: "Floats | None") -> str:
    """Readable, and with a digest of the content, so that generations of an index never mix in one store."""
    digest = hashlib.sha256(chunks.sha256.encode() + (b"" if vectors is None else vectors.tobytes())).hexdigest()
    # PostgreSQL cuts names at 63 bytes, and OpenSearch takes none that begin with _
    readable = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")[:40] or "index"
    return f"{readable}_{digest[:16]}"
