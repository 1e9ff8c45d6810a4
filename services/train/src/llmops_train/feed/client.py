"""Sequences that other hosts read, decode and collate: each process asks for its own rows, some steps ahead."""

import logging
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_train.feed.layout import Table
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Arrangement, Packed, Rows
from llmops_train.feed.wire import address, receive, send
from llmops_train.feed_config import FeedConfig

logger = logging.getLogger(__name__)

STEPS_AHEAD = 4

RETRY_S = 0.5


class RemoteSequences:
    """A split served by the hosts of `feed.servers`. Any of them can answer any request, so one that dies is replaced by the others."""

    def __init__(self, config: FeedConfig, manifest: DatasetManifest, split: str, arrangement: Arrangement, num_tokens: int) -> None:
        self.config = config
        self.arrangement = arrangement
        self.total_tokens = num_tokens
        shape = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(arrangement).items()}
        self.hello = {"ask": "hello", "dataset": sha256(manifest.to_json()), "split": split, "arrangement": shape}
        self._pool = ThreadPoolExecutor(config.workers, thread_name_prefix="feed")
        self._connections: dict[tuple[int, str], socket.socket] = {}
        """By thread and host."""
        self._ahead: dict[tuple[int, int, int], Future[Table]] = {}
        self._order: Order | None = None
        self._step: int | None = None
        try:
            self._pool.submit(self.request, None, {"ask": "nothing"}).result()  # a feed of other data is refused before the model loads
        except LlmopsError:
            self.close()
            raise

    def __len__(self) -> int:
        return self.arrangement.num_rows()

    def num_tokens(self) -> int:
        return self.total_tokens

    def expect(self, order: Order, step: int) -> None:
        if self._order is None or (self._order.seed, self._order.batch_rows) != (order.seed, order.batch_rows):
            self._order = Order(order.num_rows, order.batch_rows, order.seed, self.arrangement)
        self._step = step
        for key in [key for key in self._ahead if key[0] < step]:
            self._ahead.pop(key).cancel()

    def take(self, rows: Rows) -> Packed:
        span = self.span(rows)
        if span is None:
            table = self._pool.submit(self.request, self._step, {"ask": "rows", "rows": rows.tolist()}).result()
        else:
            table = self.start(*span).result()
        return Packed(table["input_ids"], table["document_ids"], table.get("loss_mask"))

    def span(self, rows: Rows) -> tuple[int, int, int] | None:
        """Which part of the step these rows are, so that the same part of the next steps is asked for, too."""
        if self._order is None or self._step is None or not len(rows):
            return None
        whole = self._order.peek(self._step)
        begin = int(np.argmax(whole == rows[0]))
        if not np.array_equal(whole[begin : begin + len(rows)], rows):
            return None
        for ahead in range(1, STEPS_AHEAD + 1):
            self.start(self._step + ahead, begin, begin + len(rows))
        return self._step, begin, begin + len(rows)

    def start(self, step: int, begin: int, end: int) -> "Future[Table]":
        """A part of a step, being fetched."""
        assert self._order is not None
        key = (step, begin, end)
        if key not in self._ahead:
            rows = self._order.peek(step)[begin:end].tolist()
            ask = {"ask": "rows", "rows": rows, "step": step, "seed": self._order.seed, "batch_rows": self._order.batch_rows}
            self._ahead[key] = self._pool.submit(self.request, step, ask)
        return self._ahead[key]

    def request(self, step: int | None, ask: dict[str, Any]) -> Table:
        """The answer of the host whose turn it is, or of the next that answers. Raises LlmopsError when none does for `timeout_s`."""
        servers, last = self.config.servers, time.monotonic() + self.config.timeout_s
        turn, failures = step or 0, dict.fromkeys(self.config.servers, "")
        while time.monotonic() < last:
            server = servers[turn % len(servers)]
            try:
                return self.ask(server, ask)
            except OSError as error:
                if not failures[server]:
                    logger.warning("feed %s does not answer (%s); asking the next", server, error)
                failures[server] = str(error)
                turn += 1
                if turn % len(servers) == (step or 0) % len(servers):
                    time.sleep(RETRY_S)
        reasons = "; ".join(f"{server}: {reason}" for server, reason in failures.items())
        raise LlmopsError(
            f"no host of feed.servers answered for {self.config.timeout_s:.0f} s ({reasons}); start `llmops-train feed` there"
        )

    def ask(self, server: str, ask: dict[str, Any]) -> Table:
        """One request over this thread's connection. Raises OSError when it fails, LlmopsError when the feed refuses."""
        connection = self.connection(server)
        try:
            send(connection, ask)
            answer = receive(connection)
            if answer is None:
                raise ConnectionError("the feed closed the connection")
        except OSError:
            self._connections.pop((threading.get_ident(), server)).close()
            raise
        message, table = answer
        if "error" in message:
            raise LlmopsError(f"feed {server}: {message['error']}")
        return table

    def connection(self, server: str) -> socket.socket:
        """This thread's connection to a host, made and greeted when there is none."""
        key = (threading.get_ident(), server)
        if key not in self._connections:
            self._connections[key] = socket.create_connection(address(server), timeout=self.config.timeout_s)
            self._connections[key].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ask(server, self.hello)
        return self._connections[key]

    def close(self) -> None:
        """Ends the threads and their connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        while self._connections:
            self._connections.popitem()[1].close()

    def __del__(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._connections:
            self._connections.popitem()[1].close()
