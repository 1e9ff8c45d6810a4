"""Connections to PostgreSQL, on a server of yours or on the embedded one."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import embedded_folder
from llmops_shared.retrieval.pgserver import EmbeddedServer

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_S = 5
SEARCH_SETTINGS = {
    # candidates looked at: recall@10 is 0.96 of 13,000 and of 100,000 chunks (services/serve/retrieval.md); pgvector looks at 40
    "hnsw.ef_search": "180",
    # goes on when a search asks for more candidates than it looked at, or when most of them do not pass a filter
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "100000",
    "plan_cache_mode": "force_custom_plan",  # a plan for any filter may scan the table
}


class Database:
    """A pool of connections for many threads. Close it: the embedded server stops with its last user."""

    def __init__(self, uri: str, folder: str, create: bool = False) -> None:
        """`uri` and `folder` as for `embedded_folder`; `create` makes an embedded database where there is none."""
        embedded = embedded_folder(uri, folder)
        self.uri = uri
        self._server = EmbeddedServer(embedded, create) if embedded else None
        # also at the end of the interpreter, or the embedded server would outlive its last user
        self._leave = weakref.finalize(self, self._server.close) if self._server else None
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile. Raises LlmopsError when PostgreSQL does not answer."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        finally:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                with self._lock:
                    self._idle.append(connection)
            else:  # broken, or left in the middle of something
                connection.close()

    def forget(self) -> None:
        """Closes the connections that are not in use, as after a restart of the server."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Closes everything."""
        self.forget()
        if self._leave:
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> Connection:
        try:
            connection = psycopg.connect(self._conninfo(), autocommit=True, connect_timeout=CONNECT_S)
            for name, value in SEARCH_SETTINGS.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            return connection
        except psycopg.OperationalError as error:
            raise LlmopsError(f"{self.uri}: PostgreSQL does not answer ({error}); start it, or correct the store's URI") from error

    def _conninfo(self) -> str:
        if self._server:
            return self._server.living()
        if self.uri.startswith("aurora:"):
            from llmops_shared.retrieval.rds import aurora_conninfo

            return aurora_conninfo(self.uri)
        return self.uri
