"""Rows for PostgreSQL's binary COPY."""

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

from llmops_shared.retrieval.bm25 import Postings
from llmops_shared.retrieval.database import Connection
from llmops_shared.retrieval.store import Floats, StoredChunk

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
INT4, FLOAT4 = 23, 700  # object ids of the types, the same in every database
FLUSH_BYTES = 1 << 20


def copy_chunks(connection: Connection, name: sql.Identifier, chunks: Sequence[StoredChunk], vectors: Floats) -> None:
    """The rows of the table of chunks, numbered from 0."""
    statement = sql.SQL("COPY {} (number, chunk_id, document_id, source, title, text, metadata, embedding) FROM STDIN WITH (FORMAT BINARY)")
    with connection.cursor() as cursor, cursor.copy(statement.format(name)) as rows:
        rows.set_types(["int4", "text", "text", "text", "text", "text", "jsonb", "vector"])
        for number, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True)):
            metadata = Jsonb(dict(chunk.metadata))
            rows.write_row((number, chunk.chunk_id, chunk.document_id, chunk.source, chunk.title, chunk.text, metadata, vector))


def copy_postings(connection: Connection, name: sql.Identifier, found: Iterable[Postings]) -> None:
    """The rows of the table of words; laid out by numpy, for millions of numbers one by one take longer than all else."""
    statement = sql.SQL("COPY {} (word, num_chunks, numbers, weights) FROM STDIN WITH (FORMAT BINARY)").format(name)
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        buffer = bytearray(HEADER)
        for word, numbers, weights in found:
            buffer += struct.pack(">h", 4)
            for value in (word.encode(), struct.pack(">i", len(numbers)), array(numbers, INT4), array(weights, FLOAT4)):
                buffer += struct.pack(">i", len(value)) + value
            if len(buffer) > FLUSH_BYTES:
                rows.write(bytes(buffer))
                buffer.clear()
        rows.write(bytes(buffer + TRAILER))


def array(values: NDArray[np.int32] | Floats, type_id: int) -> bytes:
    """A one-dimensional array without nulls as PostgreSQL sends it: each number behind its length in bytes."""
    elements = np.empty(len(values), dtype=[("length", ">i4"), ("value", ">i4" if type_id == INT4 else ">f4")])
    elements["length"], elements["value"] = 4, values
    return struct.pack(">iiiii", 1, 0, type_id, len(values), 1) + elements.tobytes()
