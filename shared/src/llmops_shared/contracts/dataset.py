"""DatasetManifest: what preprocess made of raw text."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Value


class Source(Value):
    """One input the rows came from."""

    uri: str
    """Where it was read; for the running Python's own library `python:3.11.7`, which no other machine path appears in."""
    kind: str
    """Source kind of the config (`python_stdlib`, `jsonl`)."""
    num_records: int = Field(ge=0)
    """Records read, the broken ones included."""
    sha256: str
    """Digest over the records read, in order."""
    licence: str
    """Licence of the text, as given in the config or known of the source."""


class StageCount(Value):
    """How many rows went into a stage and what became of them: `rows_in == rows_out + sum(dropped.values())`."""

    stage: str
    """Name of the stage (`read`, `normalise`, `language`, `quality`, `exact_duplicates`, ...)."""
    rows_in: int = Field(ge=0)
    """Rows that went in."""
    rows_out: int = Field(ge=0)
    """Rows that came out."""
    dropped: dict[str, int]
    """Dropped rows by reason."""


class Shard(Part):
    """A safetensors file of packed sequences, or a WebDataset tar of the same (`.tar`: a sample a sequence, its tensors as `.npy`).

    Tensors, all of shape [num_sequences, sequence_length]: `input_ids` (uint16 if the vocabulary fits, else uint32),
    `document_ids` (uint16, 0 is padding, documents count from 1 in each sequence) and, in a chat dataset,
    `loss_mask` (uint8, 1 where the token belongs to an answer).
    """

    num_sequences: int = Field(ge=0)
    """Rows of the tensors."""
    num_tokens: int = Field(ge=0)
    """Tokens that are not padding."""


class Split(Value):
    """One part of the data that never shares a source document with another split."""

    num_rows: int = Field(ge=0)
    """Rows in `rows`."""
    num_tokens: int = Field(ge=0)
    """Tokens over all shards, padding left out."""
    rows: list[Part]
    """The rows as JSON lines: `TextRow` or `ChatRow` of `llmops_shared.rows`."""
    shards: list[Shard]
    """The same rows as packed token shards; in each form that was asked for all of them."""
    parquet: list[Part] = Field(default=[])
    """The rows as Parquet, where that was asked for."""


class Tokenizer(Value):
    """A tokenizer directory as Hugging Face's AutoTokenizer loads it."""

    files: list[Part]
    """Its files, `tokenizer.json` among them; the chat template is part of it."""
    vocab_size: int = Field(ge=1)
    """Number of token ids, special ones included."""


class DatasetManifest(Contract):
    """A dataset: rows, token shards and the tokenizer that made them, with every dropped row counted."""

    file_name: ClassVar[str] = "dataset.json"

    kind: Literal["dataset"] = "dataset"
    """What this document is."""
    name: str
    """Name of the dataset, as it appears in MLflow."""
    view: Literal["text", "chat"]
    """`text` for pre-training, `chat` for instruction tuning."""
    sources: list[Source]
    """Where the rows came from."""
    counts: list[StageCount]
    """Every stage in order; one takes the rows that the one before let through. From `questions` on, rows are chats made of documents."""
    sequence_length: int = Field(ge=1)
    """Tokens in one packed sequence."""
    tokenizer: Tokenizer
    """The tokenizer of the shards."""
    splits: dict[str, Split]
    """By name: `train`, `validation`, `test`."""
    dead_letter: Part | None
    """Records that could not be read, as JSON lines with source, line number and reason; None where there were none."""
