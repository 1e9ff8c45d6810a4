"""Textract's blocks as pages: lines, tables and key-value pairs.

docs.aws.amazon.com/textract/latest/dg/how-it-works-document-layout.html says how blocks point to each other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmops_preprocess.scanned_page import KeyValue, ScannedPage, Table, markdown_table

Block = Mapping[str, Any]


def pages_of(blocks: Sequence[Block], min_confidence: float = 0.0) -> list[ScannedPage]:
    """The pages of all responses of one document together, in order. Lines below `min_confidence` (0 to 100) are left out."""
    by_id = {block["Id"]: block for block in blocks}
    # a synchronous answer about one page leaves the number out
    numbers = sorted({block.get("Page", 1) for block in blocks})
    return [page_of([block for block in blocks if block.get("Page", 1) == number], by_id, min_confidence) for number in numbers]


def page_of(blocks: Sequence[Block], by_id: Mapping[str, Block], min_confidence: float) -> ScannedPage:
    """One page."""
    lines = [block["Text"] for block in blocks if block["BlockType"] == "LINE" and block["Confidence"] >= min_confidence]
    words = [block["Confidence"] for block in blocks if block["BlockType"] == "WORD"]
    tables = tuple(table_of(block, by_id) for block in blocks if block["BlockType"] == "TABLE")
    fields = tuple(field_of(block, by_id) for block in blocks if is_key(block))
    text = "\n".join([*lines, *(f"\n{markdown_table(table.rows)}" for table in tables)])
    return ScannedPage(text, tables, fields, sum(words) / len(words) if words else None)


def table_of(table: Block, by_id: Mapping[str, Block]) -> Table:
    """The cells in rows. A merged cell's words are those of its parts, and stand in the first."""
    cells = [cell for cell in related(table, "CHILD", by_id) if cell["BlockType"] == "CELL"]
    merged = related(table, "MERGED_CELL", by_id)
    first = {part["Id"]: parts for cell in merged for parts in [related(cell, "CHILD", by_id)] for part in parts[:1]}
    covered = {part["Id"] for parts in first.values() for part in parts[1:]}
    num_rows = max((cell["RowIndex"] for cell in cells), default=0)
    num_columns = max((cell["ColumnIndex"] for cell in cells), default=0)
    grid = [[""] * num_columns for _ in range(num_rows)]
    for cell in cells:
        if cell["Id"] not in covered:
            parts = first.get(cell["Id"], [cell])
            grid[cell["RowIndex"] - 1][cell["ColumnIndex"] - 1] = " ".join(words for part in parts if (words := words_of(part, by_id)))
    return Table(tuple(tuple(row) for row in grid), table.get("Confidence", 0.0))


def is_key(block: Block) -> bool:
    """Whether a block is the label of a form field; older answers have a block type KEY of its own."""
    return block["BlockType"] == "KEY" or (block["BlockType"] == "KEY_VALUE_SET" and "KEY" in (block.get("EntityTypes") or []))


def field_of(key: Block, by_id: Mapping[str, Block]) -> KeyValue:
    """A label and what stands beside it; as sure as the less sure of the two."""
    values = related(key, "VALUE", by_id)
    confidence = min([block.get("Confidence", 0.0) for block in (key, *values)])
    return KeyValue(words_of(key, by_id), " ".join(words for value in values if (words := words_of(value, by_id))), confidence)


def words_of(block: Block, by_id: Mapping[str, Block]) -> str:
    """The words in a block, boxes as `selected` and `not selected`."""
    return " ".join(spoken(related(block, "CHILD", by_id), by_id))


def spoken(children: Iterable[Block], by_id: Mapping[str, Block]) -> Iterator[str]:
    for child in children:
        match child["BlockType"]:
            case "WORD":
                yield child["Text"]
            case "SELECTION_ELEMENT":
                yield "selected" if child["SelectionStatus"] == "SELECTED" else "not selected"
            case "LINE":
                yield words_of(child, by_id) or child.get("Text", "")


def related(block: Block, kind: str, by_id: Mapping[str, Block]) -> list[Block]:
    """The blocks a block points to, those that are there."""
    ids = [found for relation in block.get("Relationships") or [] if relation["Type"] == kind for found in relation["Ids"]]
    return [by_id[found] for found in ids if found in by_id]
