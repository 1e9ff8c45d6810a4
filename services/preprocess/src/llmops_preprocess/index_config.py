"""Settings of `llmops-preprocess index`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config, JobConfig
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import embedded_folder


class EmbedderConfig(Config):
    """What turns text into vectors."""

    kind: Literal["lsa", "sentence-transformers"] = Field(default="lsa")
    """`lsa` is fitted on the chunks, needs no download and embeds a question in microseconds; `sentence-transformers` loads a model."""
    model: str = Field(default="")
    """Directory, `s3://` prefix or Hugging Face id of a sentence-transformers model with safetensors weights."""
    num_dimensions: int | None = Field(default=None, ge=8, le=2000)
    """Length of a vector; null: 384 for `lsa`, the model's own for `sentence-transformers`. pgvector's index takes at most 2000."""

    @model_validator(mode="after")
    def _model_fits_kind(self) -> Self:
        if self.kind == "lsa" and self.model:
            raise ValueError(f"lsa is fitted on the chunks and takes no model (got {self.model}); set kind=sentence-transformers to use it")
        if self.kind == "sentence-transformers" and not self.model:
            raise ValueError("sentence-transformers needs model=, a directory, s3:// prefix or Hugging Face id")
        if self.kind == "sentence-transformers" and self.num_dimensions is not None:
            raise ValueError("a model has the number of dimensions it was trained with; leave num_dimensions out")
        return self


class IndexConfig(JobConfig):
    """From a text dataset to an index that finds its documents by a question."""

    dataset: str = Field(min_length=1)
    """DatasetManifest of a text dataset, or its folder."""
    name: str | None = Field(default=None, min_length=1)
    """Name of the index; null: the dataset's."""
    splits: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Splits whose rows are indexed; null: all, for documentation is what the assistant may look up, not what it is tested on."""
    max_chunk_tokens: int = Field(default=96, ge=32)
    """Longest chunk, its title included, in tokens of the dataset's tokenizer."""
    overlap_sentences: int = Field(default=1, ge=0)
    """Sentences that a chunk repeats from the one before when a paragraph had to be cut between them."""
    embedder: EmbedderConfig = Field(default=EmbedderConfig())
    """Embedder."""
    store: str = Field(default="pgserver:pgdata", min_length=1)
    """`pgserver:FOLDER` (relative to `out`): PostgreSQL embedded there; `postgresql://user@host/database`: a server with pgvector."""
    num_probes: int = Field(default=300, ge=0)
    """Documents whose first sentence is asked of the finished index, to measure whether it finds them."""
    seed: int = Field(default=0, ge=0)
    """Decides the random part of `lsa` and which documents are asked for."""

    @model_validator(mode="after")
    def _store_can_be_written(self) -> Self:
        try:
            embedded_folder(self.store, self.out)
        except LlmopsError as error:
            raise ValueError(str(error)) from error
        return self
