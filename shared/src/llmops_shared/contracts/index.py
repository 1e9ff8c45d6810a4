"""RetrievalIndex: chunks and their vectors, searchable in a vector store."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Reference, Value


class Embedder(Value):
    """What turns text into a vector; the same at index and at query time."""

    kind: Literal["lsa", "sentence-transformers"]
    """`lsa`: TF-IDF projected by a truncated SVD and at random, fitted on the chunks. `sentence-transformers`: a model directory."""
    model: str
    """Model id or directory; empty for `lsa`, whose parts are `files`."""
    files: list[Part]
    """Files of a fitted embedder."""
    num_dimensions: int = Field(ge=1)
    """Length of a vector."""


class VectorStore(Value):
    """Where the vectors are searched."""

    uri: str
    """`postgresql://...`, or for the embedded server `pgserver:` and its folder relative to this document."""
    table: str
    """Table that holds this index, and no other."""


class RetrievalIndex(Contract):
    """A finished index."""

    file_name: ClassVar[str] = "index.json"

    kind: Literal["index"] = "index"
    """What this document is."""
    name: str
    """Name of the index."""
    dataset: Reference
    """The DatasetManifest whose rows were chunked."""
    num_documents: int = Field(ge=0)
    """Rows chunked."""
    num_chunks: int = Field(ge=0)
    """Chunks stored."""
    max_chunk_tokens: int = Field(ge=1)
    """No chunk is longer, in tokens of the dataset's tokenizer."""
    chunks: Part
    """The chunks as JSON lines: `chunk_id`, `document_id`, `text`."""
    embedder: Embedder
    """What made the vectors."""
    store: VectorStore
    """Where they are."""
