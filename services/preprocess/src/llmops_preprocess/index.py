"""`llmops-preprocess index`: chunks a text dataset, embeds the chunks and stores them where `serve` searches.

Only what a kept index needs is imported here; numpy, PostgreSQL's driver and the embedders come when there is work.
"""

import hashlib
import json
import logging
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from llmops_preprocess.index_config import EmbedderConfig, IndexConfig
from llmops_shared.contracts import DatasetManifest, Part, RetrievalIndex, index
from llmops_shared.documents import document_uri, fetch_part, read_document, refer, sha256, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.rows import TextRow
from llmops_shared.store import store_for
from llmops_shared.tracking import tracked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmops_preprocess.chunk import Chunk, CountTokens
    from llmops_shared.retrieval.database import Database
    from llmops_shared.retrieval.embedder import Embedder

    Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)

LSA_DIMENSIONS = 384
BATCH = 256  # texts embedded between two looks at the clock
REPORT_EVERY_S = 10.0


def build_index(config: IndexConfig) -> RetrievalIndex:
    """Writes chunks, embedder and vectors, measures the search, and writes the RetrievalIndex last."""
    dataset_uri = document_uri(config.dataset, DatasetManifest)
    inputs = {"dataset": digest_of(dataset_uri, DatasetManifest), **model_digest(config.embedder)}
    kept = finished(config, RetrievalIndex, inputs)
    if kept is not None:
        return kept

    from llmops_preprocess.chunk import chunk_rows
    from llmops_preprocess.index_probe import chunk_figures, probe
    from llmops_shared.retrieval.database import Database

    manifest = read_document(dataset_uri, DatasetManifest)
    rows = read_rows(manifest, dataset_uri, config.splits)
    chunks = chunk_rows(rows, token_counter(manifest, dataset_uri), config.max_chunk_tokens, config.overlap_sentences)
    logger.info("cut %d documents into %d chunks", len(rows), len(chunks))

    begin = time.perf_counter()
    embedder, vectors = embed(config, [chunk.text for chunk in chunks])
    embedding_s = time.perf_counter() - begin
    logger.info("embedded them in %.1f s", embedding_s)

    name = config.name or manifest.name
    chunks_part = store_part(config.out, "chunks.jsonl", chunk_lines(chunks))
    document = RetrievalIndex(
        name=name,
        dataset=refer(dataset_uri, DatasetManifest, config.out),
        num_documents=len(rows),
        num_chunks=len(chunks),
        max_chunk_tokens=config.max_chunk_tokens,
        chunks=chunks_part,
        embedder=describe_embedder(config, embedder),
        store=index.VectorStore(uri=config.store, table=table_name(name, chunks_part, vectors)),
    )
    with Database(config.store, config.out, create=True) as database:
        write_chunks(database, document.store.table, chunks, vectors)
        figures = probe(document, embedder, database, rows, vectors, config.num_probes, config.seed)
    figures |= {**chunk_figures(chunks), "num_documents": len(rows), "num_chunks": len(chunks), "embedding_s": embedding_s}
    logger.info("probe: %s", ", ".join(f"{key} {value:.3g}" for key, value in figures.items()))

    with tracked(config.tracking, "index", name) as run:
        run.parameters(config.model_dump(mode="json", exclude={"tracking"}))
        run.dataset(manifest, dataset_uri, inputs["dataset"], "index")
        run.metrics(figures)
    write_document(config.out, document)
    return document


def read_rows(manifest: DatasetManifest, uri: str, splits: Sequence[str] | None) -> list[TextRow]:
    """The rows of the splits. Raises LlmopsError for a chat dataset, a split it does not have, and when there is no row."""
    if manifest.view != "text":
        raise LlmopsError(f"{uri}: is a {manifest.view} dataset, and an index is made of documents; give a dataset with view: text")
    unknown = [name for name in splits or () if name not in manifest.splits]
    if unknown:
        raise LlmopsError(f"splits {', '.join(unknown)}: not in {uri}, which has {', '.join(manifest.splits)}")
    parts = [part for name, split in manifest.splits.items() if splits is None or name in splits for part in split.rows]
    rows = [row for part in parts for row in parse_rows(fetch_part(uri, part))]
    if not rows:
        raise LlmopsError(f"{uri}: has no rows in {', '.join(splits or manifest.splits)}; there is nothing to index")
    return rows


def parse_rows(path: Path) -> list[TextRow]:
    """The rows of one file of JSON lines."""
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            rows.append(TextRow.model_validate_json(line))
        except ValidationError as error:
            raise LlmopsError(f"{path}, line {number}: is no TextRow ({error.errors()[0]['msg']}); run preprocess again") from error
    return rows


def token_counter(manifest: DatasetManifest, uri: str) -> "CountTokens":
    """Counts tokens as the dataset's tokenizer cuts them."""
    from tokenizers import Tokenizer

    part = next((part for part in manifest.tokenizer.files if Path(part.path).name == "tokenizer.json"), None)
    if part is None:
        raise LlmopsError(f"{uri}: its tokenizer has no tokenizer.json; make the dataset with a fast tokenizer")
    tokenizer = Tokenizer.from_file(str(fetch_part(uri, part)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def embed(config: IndexConfig, texts: Sequence[str]) -> tuple["Embedder", "Floats"]:
    """The embedder of the config, fitted if its kind is, and the vectors, [num_texts, num_dimensions]."""
    match config.embedder.kind:
        case "lsa":
            from llmops_shared.retrieval.lsa import fit_lsa

            return fit_lsa(texts, config.embedder.num_dimensions or LSA_DIMENSIONS, config.seed)
        case "sentence-transformers":
            from llmops_shared.retrieval.sentences import SentenceEmbedder

            model = SentenceEmbedder(config.embedder.model)
            return model, embed_slowly(model, texts)


def embed_slowly(embedder: "Embedder", texts: Sequence[str]) -> "Floats":
    """All vectors, [num_texts, num_dimensions], with a line in the log now and then."""
    import numpy as np

    begin = reported = time.monotonic()
    vectors = []
    for start in range(0, len(texts), BATCH):
        vectors.append(embedder.embed(texts[start : start + BATCH]))
        now, num_done = time.monotonic(), min(start + BATCH, len(texts))
        if now - reported > REPORT_EVERY_S:
            reported, rate = now, num_done / (now - begin)
            logger.info("embedded %d of %d chunks, %.0f/s, %.0f s to go", num_done, len(texts), rate, (len(texts) - num_done) / rate)
    return np.concatenate(vectors)


def describe_embedder(config: IndexConfig, embedder: "Embedder") -> index.Embedder:
    """The embedder as the document names it; files of a fitted one become parts."""
    from llmops_shared.retrieval.lsa import LsaEmbedder

    parts = []
    if isinstance(embedder, LsaEmbedder):
        with tempfile.TemporaryDirectory() as folder:
            parts = [store_part(config.out, f"embedder/{path.name}", path) for path in embedder.save(Path(folder))]
    return index.Embedder(kind=config.embedder.kind, model=config.embedder.model, files=parts, num_dimensions=embedder.num_dimensions)


def chunk_lines(chunks: Sequence["Chunk"]) -> bytes:
    """The chunks as JSON lines."""
    lines = ({"chunk_id": chunk.chunk_id, "document_id": chunk.document_id, "text": chunk.text} for chunk in chunks)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def write_chunks(database: "Database", table: str, chunks: Sequence["Chunk"], vectors: "Floats") -> None:
    """Fills the table of the index."""
    from llmops_shared.retrieval.pgvector import write

    ids, texts, documents = ([getattr(chunk, name) for chunk in chunks] for name in ("chunk_id", "text", "document_id"))
    write(database, table, ids, vectors, texts, documents)


def table_name(name: str, chunks: Part, vectors: "Floats") -> str:
    """Readable, and with a digest of the content, so that generations of an index never mix in one database."""
    digest = hashlib.sha256(chunks.sha256.encode() + vectors.tobytes()).hexdigest()
    readable = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII)[:40]  # PostgreSQL cuts names at 63 bytes
    return f"{readable}_{digest[:16]}"


def model_digest(config: EmbedderConfig) -> dict[str, str]:
    """What tells two states of a model directory apart at no cost: names and sizes. A Hugging Face id stands for itself."""
    if not (urlsplit(config.model).scheme or (config.model and Path(config.model).exists())):
        return {}
    entries = store_for(config.model).entries(config.model)
    return {"model": sha256("\n".join(f"{entry.uri} {entry.size_bytes}" for entry in entries).encode())}
