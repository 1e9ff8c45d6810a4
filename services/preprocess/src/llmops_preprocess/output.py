"""What the job leaves in its folder beside the shards: rows, tokenizer, dead letters."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256

from llmops_preprocess.record import Broken, Record
from llmops_preprocess.tokenizer import DatasetTokenizer
from llmops_preprocess.tokenizer_files import TOKENIZER_FILES
from llmops_shared.contracts.dataset import Tokenizer
from llmops_shared.contracts.document import Part
from llmops_shared.documents import store_part
from llmops_shared.rows import ChatRow, TextRow
from llmops_shared.store import exists, join, store_for

DEAD_LETTER = "dead_letter.jsonl"


def write_rows(out: str, split: str, records: Sequence[Record], view: str) -> Part:
    """Writes the rows of a split as `rows/<split>.jsonl`."""
    make = text_row if view == "text" else chat_row
    # only what most rows lack has a default: the other answer of a preference pair
    lines = "".join(make(record).model_dump_json(exclude_defaults=True) + "\n" for record in records)
    return store_part(out, f"rows/{split}.jsonl", lines.encode())


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


def write_dead_letters(out: str, broken: Sequence[Broken]) -> Part | None:
    """Writes the broken records as JSON lines; when there are none, removes those of an earlier attempt."""
    if not broken:
        place = join(out, DEAD_LETTER)
        if exists(place):
            store_for(place).remove(place)
        return None
    lines = "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in broken)
    return store_part(out, DEAD_LETTER, lines.encode())
