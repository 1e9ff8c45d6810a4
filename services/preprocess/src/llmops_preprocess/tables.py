"""Files of records: JSON lines, JSON, CSV and Parquet, one record in memory at a time."""

import csv
import json
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from shutil import copyfileobj
from typing import BinaryIO

from llmops_preprocess.archives import Member
from llmops_preprocess.bounded import PIECE, TooLongError, bounded_lines
from llmops_preprocess.files_config import Files
from llmops_preprocess.instructions import conversations
from llmops_preprocess.jsonl import explain, field_of
from llmops_preprocess.page_text import check_text
from llmops_preprocess.record import Broken, Record

ROWS_AT_ONCE = 256
MAX_DEPTH = 500
"""Levels of lists and objects in a record; Python's own JSON reader gives up at about a thousand."""


def read_json_lines(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """A record a line; blank lines are passed over. Raises ValueError for an empty file."""
    return read_lines(member, source, view)


def read_lines(member: Member, source: Files, view: str, first: int = 1) -> Iterator[Record | Broken]:
    """The lines of a file, or of a stretch of it that begins with line `first`."""
    empty = True
    for number, line in bounded_lines(member.stream, source.max_document_bytes, first):
        empty = False
        if isinstance(line, TooLongError):
            yield Broken(member.name, number, str(line))
        elif line.strip():
            try:
                value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                yield Broken(member.name, number, explain(error))
                continue
            yield from records(value, member.name, number, source, view)
    if empty:
        raise ValueError("empty file")


def read_json(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """The records of an array; a lone object is a record, or holds them in its only field (`{"data": [...]}`)."""
    import ijson

    stream = Watched(member.stream, source.max_document_bytes)
    number = 0
    if not stream.start.startswith(b"["):
        for number, value in enumerate(listed(json.loads(stream.rest())), start=1):
            yield from records(value, member.name, number, source, view)
        return
    try:
        for number, value in enumerate(elements(stream), start=1):
            if isinstance(value, RecursionError):
                yield Broken(member.name, number, explain(value))
            else:
                yield from records(value, member.name, number, source, view)
    except (ijson.JSONError, TooLongError) as error:
        # what follows a broken element cannot be told apart any more
        yield Broken(member.name, number + 1, f"not JSON: {str(error).splitlines()[0].strip()}; the rest of the file is not read")


def elements(stream: "Watched") -> Iterator[object]:
    """The elements of a JSON array; a RecursionError in place of one that is nested too deeply.

    ijson's own `items` writes out the path to every value: at a depth of 100,000 that fills any memory.
    """
    import ijson
    from ijson.common import ObjectBuilder

    depth, deepest, builder = 0, 0, ObjectBuilder()
    for event, value in ijson.basic_parse(stream, use_float=True):
        opens, closes = event in ("start_array", "start_map"), event in ("end_array", "end_map")
        depth -= closes
        if depth == 0:
            # the array itself begins or ends
            depth += opens
            continue
        deepest = max(deepest, depth)
        if deepest < MAX_DEPTH:
            builder.event(event, value)
        depth += opens
        if depth == 1:
            stream.since_item = 0
            yield builder.value if deepest < MAX_DEPTH else RecursionError()
            deepest, builder = 0, ObjectBuilder()


class Watched:
    """A JSON file as ijson reads it, which holds a whole element in memory: no element may be longer than the limit."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self.stream, self.limit, self.since_item = stream, limit, 0
        self.start = b""
        while not self.start:
            piece = stream.read(PIECE)
            if not piece:
                raise ValueError("empty file")
            self.start = piece.removeprefix(BOM_UTF8).lstrip()

    def read(self, size: int) -> bytes:
        """The next bytes. Raises TooLongError."""
        piece, self.start = self.start[:size], self.start[size:]
        if size and not piece:
            piece = self.stream.read(size)
        self.since_item += len(piece)
        if self.since_item > self.limit + PIECE:
            raise TooLongError("record", self.limit)
        return piece

    def rest(self) -> bytes:
        """All of it. Raises TooLongError."""
        rest = self.start + self.stream.read(self.limit)
        if len(rest) > self.limit:
            raise TooLongError("document", self.limit)
        return rest


def listed(value: object) -> list[object]:
    """The records of a JSON document that is no array: of `{"data": [{...}]}` and the like those in its only field."""
    if isinstance(value, dict) and len(value) == 1:
        (only,) = value.values()
        if isinstance(only, list) and not {"role", "from"} & {key for item in only if isinstance(item, dict) for key in item}:
            return only
    return [value]


def read_csv(member: Member, source: Files, view: str, pages: object = None, delimiter: str = ",") -> Iterator[Record | Broken]:
    """A record a row, its keys from the first row; line numbers are those of a row's last line."""
    csv.field_size_limit(source.max_document_bytes)
    rows = csv.DictReader(text_lines(member.stream, source.max_document_bytes), delimiter=delimiter, restkey="", strict=True)
    if rows.fieldnames is None:
        raise ValueError("empty file")
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(member.name, rows.line_num, f"not CSV: {error}; the rest of the file is not read")
            return
        if "" in row or None in row.values():
            yield Broken(member.name, rows.line_num, f"row has another number of columns than the header's {len(rows.fieldnames)}")
        elif not all(map(is_unicode, row.values())):
            yield Broken(member.name, rows.line_num, "not UTF-8")
        else:
            yield from records(row, member.name, rows.line_num, source, view)


def text_lines(stream: BinaryIO, limit: int) -> Iterator[str]:
    """Lines for the CSV reader. Raises csv.Error for one that is too long.

    A byte that is no UTF-8 becomes half a surrogate pair, so that the rows after it are still read.
    """
    for number, line in bounded_lines(stream, limit):
        if isinstance(line, TooLongError):
            raise csv.Error(str(line))
        yield (line.removeprefix(BOM_UTF8) if number == 1 else line).decode("utf-8", "surrogateescape")


def is_unicode(text: str) -> bool:
    """Whether no half of a surrogate pair is in the text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_tsv(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """CSV with tabs."""
    return read_csv(member, source, view, pages, "\t")


def read_parquet(member: Member, source: Files, view: str, pages: object = None) -> Iterator[Record | Broken]:
    """A record a row; of a file inside an archive a copy is put on the disk, for Parquet is read from its end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as copy:
        file = member.stream
        if not file.seekable():
            copyfileobj(file, copy)
            file = copy
        try:
            table = pq.ParquetFile(file, pre_buffer=False)
            number = 0
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
                for value in batch.to_pylist():
                    number += 1
                    yield from records(value, member.name, number, source, view)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"not Parquet: {str(error).splitlines()[0]}") from error


def records(value: object, name: str, number: int, source: Files, view: str) -> Iterator[Record | Broken]:
    """The record of a row, or what is wrong with it; of instruction data one row may hold several conversations."""
    place = f"{name}:{number}"
    try:
        metadata = kept(value, source.metadata_fields)
        if view == "text":
            text = field_of(value, source.text_field, str)
            text.encode("utf-8")
            check_text(text)
            yield Record(place, text, source.licence, metadata)
            return
        for found in conversations(value, source.messages_field):
            text = "\n\n".join(message.content for message in found.messages)
            "\n".join([text, *(message.content for message in found.rejected)]).encode("utf-8")
            check_text(text)
            yield Record(place, text, source.licence, {**metadata, **found.metadata}, None, found.messages, found.rejected)
    except (ValueError, RecursionError) as error:
        yield Broken(name, number, explain(error))


def kept(value: object, fields: Iterable[str]) -> dict[str, str]:
    """The fields to keep as metadata, as words. Raises ValueError where one is missing."""
    found = {field: field_of(value, field, object) for field in fields}
    return {field: item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str) for field, item in found.items()}
