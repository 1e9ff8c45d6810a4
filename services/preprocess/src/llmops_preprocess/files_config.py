"""Settings of `source.kind: files`."""

from typing import Literal

from pydantic import Field

from llmops_shared.config import Config


class Textract(Config):
    """Amazon Textract for images and for PDF pages without text; every page it reads costs money."""

    features: tuple[Literal["TABLES", "FORMS"], ...] = Field(default=())
    """Beside the text: tables, and key-value pairs of forms; each is billed on top."""
    min_confidence: float = Field(default=0.0, ge=0, le=100)
    """Lines that Textract is less sure of are left out, in per cent."""
    staging: str | None = Field(default=None, pattern=r"^s3://[^/]+")
    """Prefix where PDFs with several pages to read are put for an asynchronous job; none: page by page, synchronously."""
    cache: str | None = Field(default=None, min_length=1)
    """Folder that keeps answers by content hash, local or `s3://`, so that no page is paid for twice; none: `<out>/textract`."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Longest wait for an asynchronous job, in seconds."""


class Fetch(Config):
    """Fetching of what lists of URLs (`.urls`, one a line) name, from public addresses only."""

    timeout_s: float = Field(default=30.0, gt=0)
    """Longest time for one URL with all its redirects, in seconds; a lookup of its name may add the resolver's own."""
    max_redirects: int = Field(default=5, ge=0)
    """Redirects that are followed, each checked like a URL of its own."""
    ports: tuple[int, ...] = Field(default=(80, 443), min_length=1)
    """Ports that are asked."""
    allowed_addresses: tuple[str, ...] = Field(default=())
    """Addresses with their ports, such as `127.0.0.1:8000`, that are reached though they are not public: for tests, and for a
    server of one's own that holds nothing secret."""


class Files(Config):
    """Files of any kind we read, told by their names: .jsonl .json .csv .tsv .parquet .txt .md .html .pdf .docx, images with
    Textract, lists of URLs with `fetch`; each also in .gz .zst .tar .zip."""

    kind: Literal["files"]
    """Source kind."""
    uri: str = Field(min_length=1)
    """File or folder, local or `s3://`; the files of a folder are read in order of their names."""
    include: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Patterns of names below the folder to read, such as `*.pdf`; `*` also crosses folders."""
    exclude: tuple[str, ...] = Field(default=())
    """Patterns of names to leave out."""
    text_field: str = Field(default="text", min_length=1)
    """Key or column of the text in records (`view: text`)."""
    metadata_fields: tuple[str, ...] = Field(default=())
    """Keys or columns of records kept as metadata of the row."""
    messages_field: str = Field(default="messages", min_length=1)
    """Key of the conversation (`view: chat`); without it the usual shapes are known by their keys: sharegpt, alpaca,
    prompt and completion, chosen and rejected."""
    licence: str = Field(default="unknown", min_length=1)
    """Licence of the text; every row carries it."""
    max_document_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Longer lines and documents go to the dead letters; it bounds memory."""
    textract: Textract | None = Field(default=None)
    """Reads images and PDF pages without text; null: they go to the dead letters."""
    fetch: Fetch | None = Field(default=None)
    """Fetches what `.urls` files name, by their media types; null: they go to the dead letters and no server is asked."""
