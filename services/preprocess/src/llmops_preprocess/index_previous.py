"""The index before: what of it a new one takes over."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.index_config import IndexConfig
from llmops_shared.contracts import Reference, RetrievalIndex
from llmops_shared.contracts.index import Update
from llmops_shared.documents import document_uri, fetch_part, read_document, refer
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import REQUEST_FILE
from llmops_shared.retrieval.embedder import Embedder, open_embedder
from llmops_shared.retrieval.store import StoredChunk
from llmops_shared.store import exists, folder_of, join, store_for

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Previous:
    """A finished index, in memory."""

    document: RetrievalIndex
    place: str
    reference: Reference
    documents: Mapping[str, list[str]]
    """The texts of each document's chunks."""
    sources: Mapping[str, str]
    """What each document was read from."""
    places: Mapping[str, int]
    """The row of each text's vector; empty where there are no vectors to take over."""
    vectors: Floats

    def embedder(self) -> Embedder:
        """What made its vectors."""
        return open_embedder(self.document.embedder, self.place)

    def update(self, chunks: Sequence[StoredChunk], num_embedded: int) -> Update:
        """What a new index of these chunks has of this one. A document is known by its id, and else by its source."""
        now: dict[str, list[str]] = defaultdict(list)
        for chunk in chunks:
            now[chunk.document_id].append(chunk.text)
        sources = {chunk.document_id: chunk.source for chunk in chunks}
        unchanged = {name for name, texts in now.items() if self.documents.get(name) == texts}
        known = set(self.sources.values())
        changed = {name for name in now.keys() - unchanged if name in self.documents or sources[name] in known}
        still_there = set(sources.values())
        removed = [name for name in self.documents if name not in now and self.sources[name] not in still_there]
        return Update(
            previous=self.reference,
            num_new=len(now) - len(unchanged) - len(changed),
            num_changed=len(changed),
            num_unchanged=len(unchanged),
            num_removed=len(removed),
            num_embedded=num_embedded,
        )


def read_previous(config: IndexConfig, inputs: Mapping[str, str]) -> Previous:
    """The index at `previous`. Raises LlmopsError when its vectors were made by another embedder, or were not kept."""
    assert config.previous is not None
    place = document_uri(config.previous, RetrievalIndex)
    document = read_document(place, RetrievalIndex)
    check_embedder(config, document, place, inputs)
    documents: dict[str, list[str]] = defaultdict(list)
    sources: dict[str, str] = {}
    places: dict[str, int] = {}
    with fetch_part(place, document.chunks).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            chunk = json.loads(line)
            documents[chunk["document_id"]].append(chunk["text"])
            sources[chunk["document_id"]] = chunk.get("source", "")
            places.setdefault(chunk["text"], number)
    vectors = np.zeros((0, 0), dtype=np.float32)
    if document.embedder.kind != "none":
        if document.vectors is None:
            raise LlmopsError(f"previous {place}: kept no vectors to take over; leave previous out this once, with keep_vectors=true")
        vectors = np.load(fetch_part(place, document.vectors), mmap_mode="r", allow_pickle=False)
    return Previous(document, place, refer(place, RetrievalIndex, config.out), documents, sources, places, vectors)


def check_embedder(config: IndexConfig, document: RetrievalIndex, place: str, inputs: Mapping[str, str]) -> None:
    """Vectors of two models say nothing about one another."""
    asked, made = config.embedder, document.embedder
    pairs = {"kind": (made.kind, asked.kind), "model": (made.model, asked.model)}
    if asked.num_dimensions is not None:
        pairs["num_dimensions"] = (str(made.num_dimensions), str(asked.num_dimensions))
    request = join(folder_of(place), REQUEST_FILE)
    if "model" in inputs and exists(request):
        before = json.loads(store_for(request).read(request))["inputs"].get("model", "")
        pairs["model files"] = (before[:12], inputs["model"][:12])
    for name, (before, now) in pairs.items():
        if before != now:
            raise LlmopsError(f"previous {place}: its embedder has {name} {before}, not {now}; leave previous out to embed all anew")
