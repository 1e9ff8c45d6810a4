"""What the job leaves in its folder beside the shards: rows, tokenizer, dead letters."""

import itertools
import json
import shutil
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from llmops_preprocess.parts import writing
from llmops_preprocess.record import Record
from llmops_preprocess.tokenizer import DatasetTokenizer
from llmops_preprocess.tokenizer_files import TOKENIZER_FILES
from llmops_shared.contracts.dataset import Tokenizer
from llmops_shared.contracts.document import Part
from llmops_shared.documents import store_part
from llmops_shared.rows import ChatRow, TextRow
from llmops_shared.store import exists, join, store_for

DEAD_LETTER = "dead_letter.jsonl"
ROWS_BYTES = 512 * 2**20
"""Rows in one file at most, give or take a part: from 100 MB to 1 GB a file, S3 reads at full speed."""
ROWS_AT_ONCE = 4096


def row_line(record: Record, view: str) -> bytes:
    """The row of a record as a line of JSON."""
    row = text_row(record) if view == "text" else chat_row(record)
    # only what most rows lack has a default: the other answer of a preference pair
    return row.model_dump_json(exclude_defaults=True).encode() + b"\n"


def text_row(record: Record) -> TextRow:
    """The row of a document."""
    return TextRow(id=row_id(record), text=record.text, source=record.source, metadata=record.metadata, licence=record.licence)


def chat_row(record: Record) -> ChatRow:
    """The row of a conversation."""
    return ChatRow(
        id=row_id(record),
        messages=list(record.messages),
        rejected=list(record.rejected),
        source=record.source,
        metadata=record.metadata,
        licence=record.licence,
    )


def row_id(record: Record) -> str:
    """Eighty bits of a digest of source and text: enough for billions of rows without two alike."""
    turns = [(message.role, message.content) for message in (*record.messages, *record.rejected)]
    return sha256(json.dumps([record.source, turns or record.text]).encode()).hexdigest()[:20]


def write_tokenizer(out: str, tokenizer: DatasetTokenizer) -> Tokenizer:
    """Writes the tokenizer's folder as `tokenizer/`."""
    names = [name for name in TOKENIZER_FILES if (tokenizer.folder / name).exists()]
    files = [store_part(out, f"tokenizer/{name}", (tokenizer.folder / name).read_bytes()) for name in names]
    return Tokenizer(files=files, vocab_size=tokenizer.vocab_size)


def write_dead_letters(out: str, parts: Sequence[str], place: Path) -> Part | None:
    """Joins the dead letters of parts; when there are none, removes those of an earlier attempt."""
    if not parts:
        uri = join(out, DEAD_LETTER)
        if exists(uri):
            store_for(uri).remove(uri)
        return None
    return store_part(out, DEAD_LETTER, joined(parts, place / DEAD_LETTER))


def joined(uris: Iterable[str], path: Path) -> Path:
    """The files one after another in a local file."""
    with writing(path), path.open("wb") as file:
        for uri in uris:
            with store_for(uri).open(uri) as part:
                shutil.copyfileobj(part, file, 1 << 20)
    return path


def write_rows(out: str, split: str, uris: Sequence[str], place: Path) -> list[Part]:
    """Joins rows of parts as `rows/<split>.jsonl`, or as several files where they are more than ROWS_BYTES."""
    sizes = [sum(entry.size_bytes for entry in store_for(uri).entries(uri)) for uri in uris]
    groups, filled = list[list[str]]([[]]), 0
    for uri, size in zip(uris, sizes, strict=True):
        if groups[-1] and filled + size > ROWS_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(uri)
        filled += size
    names = (
        [f"{split}.jsonl"] if len(groups) == 1 else [f"{split}-{number:05d}-of-{len(groups):05d}.jsonl" for number in range(len(groups))]
    )
    return [store_part(out, f"rows/{name}", joined(group, place / name)) for name, group in zip(names, groups, strict=True)]


def write_parquet(out: str, rows: Sequence[Part], place: Path) -> list[Part]:
    """The rows once more as Parquet, file by file: `metadata` is a map, `messages` are lists of {role, content}."""
    return [
        store_part(out, f"parquet/{Path(part.path).stem}.parquet", to_parquet(join(out, part.path), place / "rows.parquet"))
        for part in rows
    ]


def to_parquet(uri: str, path: Path) -> Path:
    """A file of rows as Parquet, some thousands of rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.large_string()
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", text)]))
    writer = None
    with writing(path), store_for(uri).open(uri) as lines:
        while batch := [json.loads(line) for line in itertools.islice(lines, ROWS_AT_ONCE)]:
            fields = [("id", pa.string()), ("source", pa.string()), ("licence", pa.string()), ("metadata", pa.map_(pa.string(), text))]
            fields += [("messages", turns), ("rejected", turns)] if "messages" in batch[0] else [("text", text)]
            schema = pa.schema(fields)
            rows = [{**row, "metadata": list(row["metadata"].items()), "rejected": row.get("rejected", [])} for row in batch]
            writer = writer or pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        assert writer is not None
        writer.close()
    return path
