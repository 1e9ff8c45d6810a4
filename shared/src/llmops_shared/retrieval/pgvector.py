"""The vector store in PostgreSQL: for each generation a table of chunks with pgvector, and one of words for BM25."""

import json
import logging
from collections.abc import Sequence

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import TupleRow

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.bm25 import postings
from llmops_shared.retrieval.database import Connection, Database
from llmops_shared.retrieval.fusion import reciprocal_rank_fusion
from llmops_shared.retrieval.pgcopy import copy_chunks, copy_postings
from llmops_shared.retrieval.store import Filters, Floats, FoundChunk, Query, StoredChunk, need_vectors
from llmops_shared.retrieval.words import words

logger = logging.getLogger(__name__)

EXACT_BELOW = 1000  # rows: a scan of fewer takes about a millisecond and misses nothing
EXACT_FILTERED = 10_000  # rows that pass a filter: a scan of these is surer than a graph most of whose nodes do not pass
FILTERED_MORE = 20  # times the chunks asked for: the graph gives those that pass nearly in order, and the nearest may come late
LARGE = 50_000  # rows from which the graph is denser
SPARSE, DENSE = "m = 16, ef_construction = 128", "m = 24, ef_construction = 200"
MAX_COUNTS = 10_000  # filters of which it is kept how many rows pass: counting up to the limit takes ten milliseconds
MAX_POSTINGS = 20_000  # summed for one question, rare words first; a millisecond or two
MAX_DIMENSIONS = 4000  # pgvector's limit for an index on `halfvec`

CHUNKS = """CREATE TABLE {name} (number int4 PRIMARY KEY, chunk_id text NOT NULL UNIQUE, document_id text NOT NULL, source text NOT NULL,
title text NOT NULL, text text NOT NULL, metadata jsonb NOT NULL, embedding vector({num_dimensions}) NOT NULL)"""
WORDS = "CREATE TABLE {words} (word text PRIMARY KEY, num_chunks int4 NOT NULL, numbers int4[] NOT NULL, weights float4[] NOT NULL)"

FOUND = "chunk_id, document_id, text, source, title, metadata"
# the graph is of numbers of 16 bits, half the memory to walk through; the distances of what it finds are exact
HALF = "embedding::halfvec({num_dimensions})"
NEAR = f"""SELECT {FOUND}, embedding <=> {{vector}} AS distance FROM {{name}} {{where}}
ORDER BY {HALF} <=> {{vector}}::halfvec({{num_dimensions}}) LIMIT {{limit}}"""
# materialized: all rows that pass, and no walk through the graph
NEAR_EXACT = f"""WITH chosen AS MATERIALIZED (SELECT number, embedding <=> {{vector}} AS distance FROM {{name}} {{where}}),
best AS (SELECT number, distance FROM chosen ORDER BY distance LIMIT {{limit}})
SELECT {FOUND}, distance FROM best JOIN {{name}} USING (number)"""
BY_WORDS = f"""WITH known AS (
    SELECT numbers, weights, sum(num_chunks) OVER (ORDER BY num_chunks, word) - num_chunks AS before
    FROM {{words}} WHERE word = ANY({{asked}})
), best AS (
    SELECT number, sum(weight) AS weight FROM known, unnest(numbers, weights) AS posting (number, weight)
    WHERE before < {MAX_POSTINGS} {{among}} GROUP BY number ORDER BY weight DESC, number LIMIT {{limit}}
)
SELECT {FOUND}, embedding <=> {{vector}} AS distance FROM best JOIN {{name}} USING (number) ORDER BY weight DESC, number"""


class PgVector:
    """A database that holds indexes; any number of threads may search at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # a generation is written once: its graph, and how many of its rows pass a filter, stay as they are
        self._graphs: dict[str, bool] = {}
        self._passing: dict[tuple[str, str], int] = {}

    def write(self, generation: str, chunks: Sequence[StoredChunk], vectors: Floats | None) -> None:
        """In one transaction: readers see all of it or nothing."""
        database = self._database
        vectors = need_vectors(vectors, database.uri, len(chunks))
        num_dimensions = vectors.shape[1]
        if num_dimensions > MAX_DIMENSIONS:
            raise LlmopsError(f"{num_dimensions} dimensions: pgvector indexes at most {MAX_DIMENSIONS}; choose another embedder")
        name, word_table = tables(generation)
        try:
            with database.connection() as connection, connection.transaction():
                # two writers at once would both find no extension and no table
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('llmops retrieval'))")
                add_extension(connection, database.uri)
                drop(connection, generation)
                connection.execute(sql.SQL(CHUNKS).format(name=name, num_dimensions=sql.Literal(num_dimensions)))
                connection.execute(sql.SQL(WORDS).format(words=word_table))
                copy_chunks(connection, name, chunks, vectors)
                copy_postings(connection, word_table, postings([chunk.text for chunk in chunks]))
                if len(chunks) >= EXACT_BELOW:
                    add_indexes(connection, name, len(chunks), num_dimensions)
        except psycopg.Error as error:
            raise LlmopsError(f"{database.uri}, table {generation}: cannot be filled ({error}); nothing was changed") from error
        self._forget(generation)
        logger.info("stored %d vectors of %d dimensions in table %s", len(chunks), num_dimensions, generation)

    def problem(self, generation: str, chunk_ids: Sequence[str]) -> str | None:
        name, word_table = tables(generation)
        with self._database.connection() as connection:
            try:
                found = connection.execute(sql.SQL("SELECT count(number) FROM {}").format(name)).fetchone()
                connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(word_table))
            except psycopg.errors.UndefinedTable:
                return f"no such table as {generation}"
            except psycopg.errors.UndefinedColumn:
                return f"a table {generation} of an earlier version of this software"
            graph = has_graph(connection, generation)
        assert found is not None
        if found[0] != len(chunk_ids):
            return f"{found[0]} rows as {generation}, where {len(chunk_ids)} chunks should be"
        return None if graph == (found[0] >= EXACT_BELOW) else f"a table {generation} of an earlier version of this software"

    def search(self, generation: str, query: Query) -> list[FoundChunk]:
        """Of hybrid searches the score is the cosine, too. A connection that broke since it was last used is replaced once."""
        try:
            return self._search(generation, query)
        except psycopg.OperationalError as error:
            logger.warning("%s: connection lost (%s); connecting again", self._database.uri, str(error).splitlines()[0])
            self._database.forget()
            return self._search(generation, query)

    def _search(self, generation: str, query: Query) -> list[FoundChunk]:
        search = query.search or "hybrid"
        num = max(query.num_chunks, query.num_candidates) if search == "hybrid" else query.num_chunks
        with self._database.connection() as connection:
            if connection.adapters.types.get("vector") is None:  # a fresh connection
                register_vector(connection)
            near = self._near(connection, generation, query, num) if search != "text" and query.has_vector else []
            found = with_words(connection, generation, query, num) if search != "vector" else []
        if search == "vector":
            return near
        if search == "text":
            return found
        chunks = {chunk.chunk_id: chunk for chunk in (*found, *near)}
        rankings = [[chunk.chunk_id for chunk in ranking] for ranking in (near, found)]
        return [chunks[name] for name in reciprocal_rank_fusion(rankings, query.num_chunks)]

    def _near(self, connection: Connection, generation: str, query: Query, num: int) -> list[FoundChunk]:
        """The nearest by cosine; exactly where there is no graph, or where few rows pass the filters."""
        if generation not in self._graphs:
            self._graphs[generation] = has_graph(connection, generation)
        exact = not self._graphs[generation] or (
            bool(query.filters) and self._num_passing(connection, generation, query.filters) < EXACT_FILTERED
        )
        return near_vector(connection, generation, query, num, exact)

    def _num_passing(self, connection: Connection, generation: str, filters: Filters) -> int:
        key = (generation, json.dumps(filter_values(filters)))
        if key not in self._passing:
            if len(self._passing) >= MAX_COUNTS:
                self._passing.clear()
            self._passing[key] = num_passing(connection, tables(generation)[0], filters)
        return self._passing[key]

    def _forget(self, generation: str) -> None:
        self._graphs.pop(generation, None)
        self._passing = {key: count for key, count in self._passing.items() if key[0] != generation}

    def drop(self, generation: str, chunk_ids: Sequence[str]) -> None:
        with self._database.connection() as connection, connection.transaction():
            drop(connection, generation)
        self._forget(generation)

    def close(self) -> None:
        """An embedded server stops with its last user."""
        self._database.close()


def tables(generation: str) -> tuple[sql.Identifier, sql.Identifier]:
    """Chunks and words."""
    return sql.Identifier(generation), sql.Identifier(f"{generation}_words")


def add_extension(connection: Connection, uri: str) -> None:
    """Makes the type `vector` known to the database and to this connection."""
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.DatabaseError as error:
        raise LlmopsError(
            f"{uri}: pgvector cannot be used there ({error}); install it, or let its owner CREATE EXTENSION vector"
        ) from error
    register_vector(connection)


def add_indexes(connection: Connection, name: sql.Identifier, num_rows: int, num_dimensions: int) -> None:
    """The HNSW graph that makes searches fast (Malkov and Yashunin 2018), and the one that makes filters fast."""
    connection.execute("SET LOCAL maintenance_work_mem = '512MB'")  # the graph is built in memory when it fits
    graph = sql.SQL(f"CREATE INDEX ON {{name}} USING hnsw (({HALF}) halfvec_cosine_ops) {{density}}")
    density = sql.SQL(f"WITH ({DENSE if num_rows >= LARGE else SPARSE})")
    connection.execute(graph.format(name=name, num_dimensions=sql.Literal(num_dimensions), density=density))
    connection.execute(sql.SQL("CREATE INDEX ON {} USING gin (metadata jsonb_path_ops)").format(name))
    connection.execute(sql.SQL("ANALYZE {}").format(name))  # a plan made without it may scan the table


def drop(connection: Connection, generation: str) -> None:
    """Removes the tables of a generation, if they are there."""
    for table in tables(generation):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def has_graph(connection: Connection, generation: str) -> bool:
    """Whether the nearest of this generation are found through a graph."""
    statement = "SELECT EXISTS (SELECT FROM pg_indexes WHERE tablename = %s AND indexdef LIKE '%%halfvec_cosine_ops%%')"
    row = connection.execute(statement, (generation,)).fetchone()
    return row is not None and bool(row[0])


def near_vector(connection: Connection, generation: str, query: Query, num: int, exact: bool) -> list[FoundChunk]:
    """The nearest by cosine, by a scan of all that pass or through the graph."""
    assert query.vector is not None
    name, _ = tables(generation)
    limit = sql.Literal(num * FILTERED_MORE if query.filters and not exact else num)
    statement = sql.SQL(NEAR_EXACT if exact else NEAR).format(
        vector=sql.Placeholder("vector"),
        name=name,
        where=condition(query.filters),
        limit=limit,
        num_dimensions=sql.Literal(len(query.vector)),
    )
    values = {"vector": Vector(query.vector), **filter_values(query.filters)}
    chunks = [found_chunk(row) for row in connection.execute(statement, values).fetchall()]
    return sorted(chunks, key=lambda chunk: (-chunk.score, chunk.chunk_id))[:num]  # equal scores in the same order every time


def with_words(connection: Connection, generation: str, query: Query, num: int) -> list[FoundChunk]:
    """The chunks whose words weigh most, with their cosine."""
    name, word_table = tables(generation)
    among: sql.Composable = sql.SQL("")
    if query.filters:
        among = sql.SQL("AND number IN (SELECT number FROM {name} {where})").format(name=name, where=condition(query.filters))
    vector = sql.Placeholder("vector") if query.has_vector else sql.SQL("NULL")
    statement = sql.SQL(BY_WORDS).format(
        words=word_table, asked=sql.Placeholder("words"), among=among, limit=sql.Literal(num), vector=vector, name=name
    )
    values = {"words": sorted(set(words(query.text))), **filter_values(query.filters)}
    if query.has_vector:
        values["vector"] = Vector(query.vector)
    return [found_chunk(row) for row in connection.execute(statement, values).fetchall()]


def condition(filters: Filters) -> sql.Composable:
    """The WHERE clause of `filter_values`: one of the values of every key."""
    if not filters:
        return sql.SQL("")
    keys = [
        sql.SQL("({})").format(sql.SQL(" OR ").join(sql.SQL(f"metadata @> %(f{place}_{number})s::jsonb") for number in range(len(values))))
        for place, values in enumerate(filters.values())
    ]
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(keys))


def filter_values(filters: Filters) -> dict[str, str]:
    """The parameters of `condition`."""
    return {
        f"f{place}_{number}": json.dumps({key: value})
        for place, (key, values) in enumerate(filters.items())
        for number, value in enumerate(values)
    }


def num_passing(connection: Connection, name: sql.Identifier, filters: Filters) -> int:
    """Rows that pass a filter, counted up to the limit of an exact search."""
    statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {name} {where} LIMIT {limit}) AS passing").format(
        name=name, where=condition(filters), limit=sql.Literal(EXACT_FILTERED)
    )
    row = connection.execute(statement, filter_values(filters)).fetchone()
    assert row is not None
    return int(row[0])


def found_chunk(row: TupleRow) -> FoundChunk:
    """A row of a search."""
    chunk_id, document_id, text, source, title, metadata, distance = row
    return FoundChunk(chunk_id, document_id, text, 0.0 if distance is None else 1.0 - distance, source, title, metadata)
