"""Settings of `llmops-preprocess index` and `drop`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config, JobConfig
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import check_store, kind_of, store_uri

MODEL_OF = {
    "sentence-transformers": "a directory, s3:// prefix or Hugging Face id",
    "sagemaker": "the name of an endpoint",
    "bedrock": "a model id, such as amazon.titan-embed-text-v2:0",
}


class EmbedderConfig(Config):
    """What turns text into vectors."""

    kind: Literal["lsa", "sentence-transformers", "tei", "sagemaker", "bedrock", "none"] = Field(default="lsa")
    """`lsa` is fitted on the chunks, needs no download and embeds a question in microseconds; `sentence-transformers` loads a model;
    `tei`: a server of Text Embeddings Inference; `sagemaker`: an endpoint that runs one; `bedrock`: Titan or Cohere; `none`: for Kendra."""
    model: str = Field(default="")
    """Directory, `s3://` prefix or Hugging Face id of a sentence-transformers model with safetensors weights; the SageMaker endpoint;
    the Bedrock model id."""
    url: str = Field(default="")
    """Server of `tei`, such as `http://127.0.0.1:8090`."""
    region: str = Field(default="")
    """AWS region of `sagemaker` and `bedrock`; not given: the environment's."""
    num_dimensions: int | None = Field(default=None, ge=8, le=2000)
    """Length of a vector; null: 384 for `lsa`, else the model's own. pgvector's index takes at most 2000. Bedrock's models have several."""
    refit_share: float = Field(default=0.2, ge=0, le=1)
    """With `previous=`: `lsa` learns words and topics anew when more than this share of the chunks is new; else it stays as it was."""

    @model_validator(mode="after")
    def _model_fits_kind(self) -> Self:
        if self.kind == "lsa" and self.model:
            raise ValueError(f"lsa is fitted on the chunks and takes no model (got {self.model}); set kind=sentence-transformers to use it")
        if self.kind in MODEL_OF and not self.model:
            raise ValueError(f"{self.kind} needs model=, {MODEL_OF[self.kind]}")
        if self.kind in ("tei", "none") and self.model:
            raise ValueError(f"{self.kind} takes no model (got {self.model})")
        if (self.kind == "tei") != bool(self.url):
            raise ValueError("tei needs url=, the server's address" if self.kind == "tei" else f"{self.kind} takes no url (got {self.url})")
        if self.region and self.kind not in ("sagemaker", "bedrock"):
            raise ValueError(f"{self.kind} is in no AWS region (got {self.region})")
        if self.kind not in ("lsa", "bedrock") and self.num_dimensions is not None:
            raise ValueError("a model has the number of dimensions it was trained with; leave num_dimensions out")
        if self.kind != "lsa" and "refit_share" in self.model_fields_set:
            raise ValueError(f"{self.kind} is not fitted on the chunks; leave refit_share out")
        return self


class IndexConfig(JobConfig):
    """From a text dataset to an index that finds its documents by a question."""

    dataset: str = Field(min_length=1)
    """DatasetManifest of a text dataset, or its folder."""
    name: str | None = Field(default=None, min_length=1)
    """Name of the index; null: the dataset's."""
    previous: str | None = Field(default=None, min_length=1)
    """RetrievalIndex before this one, or its folder: chunks that are in it keep their vectors, only the others are embedded. It stays as
    it is, and searchable; `llmops-preprocess drop` removes it once nothing serves it."""
    splits: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Splits whose rows are indexed; null: all, for documentation is what the assistant may look up, not what it is tested on."""
    chunker: Literal["auto", "paragraphs", "sentences", "tokens", "headings", "code"] = Field(default="auto")
    """`paragraphs` and examples whole where they fit; `sentences`; every so many `tokens`; a section under its `headings` (Markdown,
    reStructuredText); functions and classes of `code`. `auto`: by the file's name code, headings or paragraphs."""
    max_chunk_tokens: int = Field(default=96, ge=32)
    """Longest chunk, its title included, in tokens of the dataset's tokenizer."""
    overlap_sentences: int | None = Field(default=None, ge=0)
    """Sentences that a chunk repeats from the one before when a paragraph had to be cut between them; null: 1."""
    overlap_tokens: int | None = Field(default=None, ge=0)
    """Tokens that a chunk repeats from the one before, of the chunker `tokens`; null: none."""
    embedder: EmbedderConfig = Field(default=EmbedderConfig())
    """Embedder."""
    store: str = Field(default="pgvector", min_length=1)
    """`pgvector`, `opensearch` or `kendra` of the `platform`; `pgvector` without one: PostgreSQL embedded in `out`. Or its place:
    `pgserver:FOLDER` (relative to `out`), `postgresql://user@host/database`, `aurora://user@host/database` (IAM login),
    `opensearch:https://ID.REGION.aoss.amazonaws.com`, `kendra:INDEX_ID`."""
    platform: str | None = Field(default=None, min_length=1)
    """Platform document (`terraform output -json`) that says where its stores are."""
    keep_vectors: bool = Field(default=True)
    """Whether the vectors are kept beside the document, for the next index to take over."""
    num_probes: int = Field(default=300, ge=0)
    """Documents whose first sentence is asked of the finished index, to measure whether it finds them."""
    seed: int = Field(default=0, ge=0)
    """Decides the random part of `lsa` and which documents are asked for."""

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        try:
            if self.platform is None:
                check_store(store_uri(self.store, None), self.out)
            kind = self.store if self.store in ("pgvector", "opensearch", "kendra") else kind_of(self.store)
        except LlmopsError as error:
            raise ValueError(str(error)) from error
        if (kind == "kendra") != (self.embedder.kind == "none"):
            said = "reads the text itself; set embedder.kind=none" if kind == "kendra" else "needs vectors; choose another embedder.kind"
            raise ValueError(f"store {self.store} {said}")
        if self.platform and self.store != kind:
            raise ValueError(f"platform says where the store {kind} is, and store={self.store} does, too; give one of them")
        if self.chunker == "tokens" and self.overlap_sentences is not None:
            raise ValueError("overlap_sentences: the chunker tokens knows no sentences; give overlap_tokens")
        if self.chunker == "code" and self.overlap_sentences:
            raise ValueError("overlap_sentences: the chunker code cuts between definitions and repeats nothing; leave it out")
        if self.chunker != "tokens" and self.overlap_tokens is not None:
            raise ValueError(f"overlap_tokens: is for the chunker tokens, not {self.chunker}; give overlap_sentences")
        return self


class DropConfig(Config):
    """Removing an index from its vector store."""

    index: str = Field(min_length=1)
    """RetrievalIndex, or its folder: its table, OpenSearch index or Kendra documents are removed; the document and its files stay."""
