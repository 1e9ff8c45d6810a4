"""A page read by machine: text, tables and key-value pairs, with how sure the reader was."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page."""

    rows: tuple[tuple[str, ...], ...]
    """Words of the cells, row by row; a merged cell's words stand in its first one."""
    confidence: float
    """How sure the reader is that it is one, 0 to 100."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A field of a form."""

    key: str
    """Its label."""
    value: str
    """What is filled in; empty where nothing is, `selected` or `not selected` of a box."""
    confidence: float
    """0 to 100."""


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """One page."""

    text: str
    """Its lines, and its tables as Markdown below them."""
    tables: tuple[Table, ...]
    """Its tables."""
    key_values: tuple[KeyValue, ...]
    """Fields of forms."""
    confidence: float | None
    """Mean over its words, 0 to 100; None of a page without."""


class PageReader(Protocol):
    """Reads pictures of pages."""

    @property
    def takes_documents(self) -> bool:
        """Whether many pages may come in one document."""

    def read(self, content: bytes, num_pages: int) -> list[ScannedPage]:
        """The pages of a PDF or a picture. Raises ValueError for what it cannot read."""


def described(pages: Sequence[ScannedPage]) -> dict[str, str]:
    """What a row's metadata keeps of its scanned pages: confidence, tables and key-value pairs as JSON."""
    found: dict[str, str] = {}
    sure = [page.confidence for page in pages if page.confidence is not None]
    if sure:
        found["scan_confidence"] = f"{sum(sure) / len(sure):.2f}"
    tables = [{"rows": table.rows, "confidence": table.confidence} for page in pages for table in page.tables]
    fields = [{"key": item.key, "value": item.value, "confidence": item.confidence} for page in pages for item in page.key_values]
    for name, items in (("tables", tables), ("key_values", fields)):
        if items:
            found[name] = json.dumps(items, ensure_ascii=False)
    return found


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first its head; empty without rows."""
    lines = ["| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) if lines else ""
