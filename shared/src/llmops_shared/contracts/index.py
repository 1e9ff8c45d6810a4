"""RetrievalIndex: chunks and their vectors, searchable in a vector store."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Reference, Value


class Embedder(Value):
    """What turns text into a vector; the same at index and at query time."""

    kind: Literal["lsa", "sentence-transformers", "tei", "sagemaker", "bedrock", "none"]
    """`lsa`: TF-IDF projected by a truncated SVD and at random, fitted on the chunks. `sentence-transformers`: a model directory.
    `tei`: a Text Embeddings Inference server. `sagemaker`: an endpoint that runs one. `bedrock`: a Titan or Cohere model.
    `none`: the store reads the text itself, as Kendra does."""
    model: str
    """Model id or directory, SageMaker endpoint or Bedrock model id; empty for `lsa`, whose parts are `files`, and for `tei`."""
    files: list[Part]
    """Files of a fitted embedder."""
    num_dimensions: int = Field(ge=0)
    """Length of a vector; 0 for `none`."""
    url: str = ""
    """Server of `tei`; of the others an endpoint other than AWS's own, or nothing."""
    region: str = ""
    """AWS region of `sagemaker` and `bedrock`; nothing: the one of the environment."""


class VectorStore(Value):
    """Where the vectors are searched."""

    uri: str
    """`postgresql://...`, or for the embedded server `pgserver:` and its folder relative to this document; `aurora://...` logs in by IAM;
    `opensearch:https://...`: a collection of OpenSearch Serverless; `kendra:INDEX_ID`."""
    table: str
    """The generation: table or OpenSearch index that holds this index and no other, or the `_version` of its documents in Kendra."""


class Update(Value):
    """What an incremental index took over from the one before."""

    previous: Reference
    """The RetrievalIndex before."""
    num_new: int = Field(ge=0)
    """Documents that were not in it."""
    num_changed: int = Field(ge=0)
    """Documents of the same source with other text."""
    num_unchanged: int = Field(ge=0)
    """Documents whose chunks are all in it."""
    num_removed: int = Field(ge=0)
    """Documents of it that are gone."""
    num_embedded: int = Field(ge=0)
    """Chunks that were embedded; the vectors of the others were taken over."""


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
    """The chunks as JSON lines: `chunk_id`, `document_id`, `text`, and since there are filters `source`, `title` and `metadata`."""
    embedder: Embedder
    """What made the vectors."""
    store: VectorStore
    """Where they are."""
    chunker: str = "paragraphs"
    """How documents were cut: `auto`, `paragraphs`, `sentences`, `tokens`, `headings` or `code`."""
    vectors: Part | None = None
    """The vectors in the order of the chunks, for the next index to take over; None: not kept."""
    update: Update | None = None
    """What came from the index before; None: made anew."""
