"""Vectors for chunks: of those that are new only, and in parts that a run which was cut off finds again."""

import hashlib
import io
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from llmops_preprocess.index_config import EmbedderConfig, IndexConfig
from llmops_shared.contracts import index
from llmops_shared.documents import sha256, store_part
from llmops_shared.store import exists, join, store_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmops_preprocess.index_previous import Previous
    from llmops_shared.retrieval.embedder import Embedder
    from llmops_shared.retrieval.store import StoredChunk

    Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)

LSA_DIMENSIONS = 384
BATCH = 256  # texts embedded between two looks at the clock
PART = 1024  # texts whose vectors are kept together until the index is finished
PARTS = "embedding"
REPORT_EVERY_S = 10.0


class Embedded(NamedTuple):
    """Chunks as vectors."""

    embedder: "Embedder | None"
    """None where the store reads the text itself; then there are no vectors."""
    vectors: "Floats | None"
    """[num_chunks, num_dimensions]."""
    num_embedded: int
    """Chunks whose vectors are new."""


def embed_chunks(config: IndexConfig, chunks: "Sequence[StoredChunk]", previous: "Previous | None") -> Embedded:
    """The embedder of the config, fitted if its kind is, and all vectors; those of chunks that were there before are taken over."""
    if config.embedder.kind == "none":
        return Embedded(None, None, 0)
    texts = [chunk.text for chunk in chunks]
    num_new = sum(text not in previous.places for text in texts) if previous else len(texts)
    if config.embedder.kind == "lsa" and (previous is None or num_new > config.embedder.refit_share * len(texts)):
        from llmops_shared.retrieval.lsa import fit_lsa

        if previous:
            logger.info("%d of %d chunks are new: words and topics are learned anew", num_new, len(texts))
        embedder, vectors = fit_lsa(texts, config.embedder.num_dimensions or LSA_DIMENSIONS, config.seed)
        return Embedded(embedder, vectors, len(texts))
    opened = previous.embedder() if previous and config.embedder.kind == "lsa" else open_configured(config.embedder)
    wanted = [text for text in dict.fromkeys(texts) if previous is None or text not in previous.places]
    new = dict(zip(wanted, embed_in_parts(config, opened, wanted), strict=True))
    return Embedded(opened, gather(texts, new, previous, opened.num_dimensions), num_new)


def gather(texts: Sequence[str], new: "dict[str, Floats]", previous: "Previous | None", num_dimensions: int) -> "Floats":
    """The vectors in the order of the texts."""
    import numpy as np

    vectors = np.zeros((len(texts), num_dimensions), dtype=np.float32)
    for row, text in enumerate(texts):
        if text in new:
            vectors[row] = new[text]
        elif previous is not None:
            vectors[row] = previous.vectors[previous.places[text]]
    return vectors


def open_configured(config: EmbedderConfig) -> "Embedder":
    """The embedder that is not fitted here."""
    if config.kind == "sentence-transformers":
        from llmops_shared.retrieval.sentences import SentenceEmbedder

        return SentenceEmbedder(config.model)
    from llmops_shared.retrieval.embedder import open_remote

    return open_remote(config.kind, config.model, config.url, config.region, config.num_dimensions)


def embed_in_parts(config: IndexConfig, embedder: "Embedder", texts: Sequence[str]) -> "Floats":
    """All vectors, [num_texts, num_dimensions]; each part is kept in `out` as soon as it is there, and read by the run after."""
    import numpy as np

    begin = reported = time.monotonic()
    parts, num_made = [np.zeros((0, embedder.num_dimensions), dtype=np.float32)], 0
    settings = config.embedder.model_dump_json() + model_digest(config.embedder).get("model", "")
    for start in range(0, len(texts), PART):
        batch = texts[start : start + PART]
        place = join(config.out, PARTS, f"{hashlib.sha256(repr((settings, batch)).encode()).hexdigest()[:32]}.npy")
        if exists(place):
            parts.append(np.load(io.BytesIO(store_for(place).read(place)), allow_pickle=False))
            continue
        made = []
        for first in range(0, len(batch), BATCH):
            made.append(embedder.embed(batch[first : first + BATCH]))
            num_made += len(made[-1])
            now, num_done = time.monotonic(), start + first + len(made[-1])
            if now - reported > REPORT_EVERY_S:
                reported, rate = now, num_made / (now - begin)
                left = len(texts) - num_done
                logger.info("embedded %d of %d chunks, %.0f/s, %.0f s to go", num_done, len(texts), rate, left / rate)
        parts.append(np.concatenate(made))
        store_for(place).write(place, array_bytes(parts[-1]))
    if found := len(texts) - num_made:
        logger.info("%d of %d vectors are from the run that was cut off", found, len(texts))
    return np.concatenate(parts)


def forget_parts(out: str) -> None:
    """Removes what only a run that was cut off would need."""
    store = store_for(out)
    for entry in store.entries(join(out, PARTS)):
        store.remove(entry.uri)


def array_bytes(vectors: "Floats") -> bytes:
    """A file of numpy."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    return buffer.getvalue()


def describe_embedder(config: IndexConfig, embedder: "Embedder | None") -> index.Embedder:
    """The embedder as the document names it; files of a fitted one become parts."""
    from llmops_shared.retrieval.lsa import LsaEmbedder

    parts = []
    if isinstance(embedder, LsaEmbedder):
        with tempfile.TemporaryDirectory() as folder:
            parts = [store_part(config.out, f"embedder/{path.name}", path) for path in embedder.save(Path(folder))]
    asked = config.embedder
    return index.Embedder(
        kind=asked.kind,
        model=asked.model,
        files=parts,
        num_dimensions=embedder.num_dimensions if embedder else 0,
        url=asked.url,
        region=asked.region,
    )


def model_digest(config: EmbedderConfig) -> dict[str, str]:
    """What tells two states of a model directory apart at no cost: names and sizes. A Hugging Face id stands for itself."""
    if config.kind != "sentence-transformers" or not (urlsplit(config.model).scheme or Path(config.model).exists()):
        return {}
    entries = store_for(config.model).entries(config.model)
    return {"model": sha256("\n".join(f"{entry.uri} {entry.size_bytes}" for entry in entries).encode())}
