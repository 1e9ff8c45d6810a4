"""The vector store: one table of PostgreSQL with pgvector for each index."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.database import Connection, Database

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

EXACT_BELOW = 1000  # rows: a scan of fewer takes about a millisecond and misses nothing
MAX_DIMENSIONS = 2000  # pgvector's limit for an index on `vector`


class FoundChunk(NamedTuple):
    """A chunk near a vector."""

    chunk_id: str
    document_id: str
    text: str
    score: float
    """Cosine similarity, -1 to 1."""


def write(
    database: Database, table: str, chunk_ids: Sequence[str], vectors: Floats, texts: Sequence[str], document_ids: Sequence[str]
) -> None:
    """Fills a table with rows and an index in one transaction; what an earlier try left under its name is dropped.

    `vectors` has shape [num_rows, num_dimensions]. Raises LlmopsError when the server has no
    pgvector or refuses a row.
    """
    num_rows, num_dimensions = vectors.shape
    if num_dimensions > MAX_DIMENSIONS:
        raise LlmopsError(f"{num_dimensions} dimensions: pgvector indexes at most {MAX_DIMENSIONS}; choose another embedder")
    try:
        with database.connection() as connection, connection.transaction():
            # two writers at once would both find no extension and no table
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('llmops retrieval'))")
            add_extension(connection, database.uri)
            create_table(connection, sql.Identifier(table), num_dimensions)
            copy(connection, sql.Identifier(table), chunk_ids, vectors, texts, document_ids)
            if num_rows >= EXACT_BELOW:
                add_graph(connection, sql.Identifier(table))
    except psycopg.Error as error:
        raise LlmopsError(f"{database.uri}, table {table}: cannot be filled ({error}); nothing was changed") from error
    logger.info("stored %d vectors of %d dimensions in table %s", num_rows, num_dimensions, table)


def add_extension(connection: Connection, uri: str) -> None:
    """Makes the type `vector` known to the database and to this connection."""
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.DatabaseError as error:
        raise LlmopsError(
            f"{uri}: pgvector cannot be used there ({error}); install it, or let its owner CREATE EXTENSION vector"
        ) from error
    register_vector(connection)


def create_table(connection: Connection, name: sql.Identifier, num_dimensions: int) -> None:
    """An empty table in place of any of that name."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    columns = "chunk_id text PRIMARY KEY, document_id text NOT NULL, text text NOT NULL, embedding vector({}) NOT NULL"
    connection.execute(sql.SQL(f"CREATE TABLE {{}} ({columns})").format(name, sql.Literal(num_dimensions)))


def add_graph(connection: Connection, name: sql.Identifier) -> None:
    """The HNSW graph that makes searches fast (Malkov and Yashunin 2018)."""
    connection.execute("SET LOCAL maintenance_work_mem = '256MB'")  # it is built in memory when it fits
    connection.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (embedding vector_cosine_ops)").format(name))


def copy(
    connection: Connection,
    name: sql.Identifier,
    chunk_ids: Sequence[str],
    vectors: Floats,
    texts: Sequence[str],
    document_ids: Sequence[str],
) -> None:
    """Sends the rows in PostgreSQL's binary format."""
    statement = sql.SQL("COPY {} (chunk_id, document_id, text, embedding) FROM STDIN WITH (FORMAT BINARY)").format(name)
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        rows.set_types(["text", "text", "text", "vector"])
        for chunk_id, document_id, text, vector in zip(chunk_ids, document_ids, texts, vectors, strict=True):
            rows.write_row((chunk_id, document_id, text, vector))


def count_rows(database: Database, table: str) -> int | None:
    """Rows of a table; None when there is no such table."""
    with database.connection() as connection:
        try:
            found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    assert found is not None
    return int(found[0])


def search(database: Database, table: str, vector: Floats, num_chunks: int) -> list[FoundChunk]:
    """The nearest chunks by cosine, best first, from any thread; none for the zero vector, which is near nothing.

    A connection that broke since it was last used is replaced once, as after a restart of the server.
    """
    if not vector.any():
        return []
    try:
        return query(database, table, vector, num_chunks)
    except psycopg.OperationalError as error:
        logger.warning("%s: connection lost (%s); connecting again", database.uri, str(error).splitlines()[0])
        database.forget()
        return query(database, table, vector, num_chunks)


def query(database: Database, table: str, vector: Floats, num_chunks: int) -> list[FoundChunk]:
    """One search."""
    statement = sql.SQL(
        "SELECT chunk_id, document_id, text, embedding <=> {vector} AS distance FROM {table} ORDER BY distance LIMIT {limit}"
    ).format(vector=sql.Placeholder("vector"), table=sql.Identifier(table), limit=sql.Placeholder("limit"))
    with database.connection() as connection:
        if connection.adapters.types.get("vector") is None:  # a fresh connection
            register_vector(connection)
        rows = connection.execute(statement, {"vector": Vector(vector), "limit": num_chunks}).fetchall()
    chunks = [FoundChunk(chunk_id, document_id, text, 1.0 - distance) for chunk_id, document_id, text, distance in rows]
    return sorted(chunks, key=lambda chunk: (-chunk.score, chunk.chunk_id))  # equal scores in the same order every time
