"""`llmops-train feed`: reads, decodes and collates sequences for the training hosts of a heterogeneous cluster."""

import logging
import socket
import socketserver
import threading
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import document_uri, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_train.feed.layout import Table
from llmops_train.feed.open import open_split
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Sequences
from llmops_train.feed.streamed import StreamedSequences
from llmops_train.feed.wire import address, receive, send
from llmops_train.feed_config import FeedServerConfig

logger = logging.getLogger(__name__)


class Feed:
    """The splits of one dataset, for any number of clients."""

    def __init__(self, config: FeedServerConfig) -> None:
        self.config = config
        self.place = document_uri(config.dataset, DatasetManifest)
        self.manifest = read_document(self.place, DatasetManifest)
        self.digest = sha256(self.manifest.to_json())
        self.splits: dict[str, Sequences] = {}
        self.orders: dict[tuple[str, int, int], tuple[Order, int]] = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.exit_code = 0
        self.num_clients = 0
        self.left = time.monotonic()
        for split in config.splits:
            self.open(split)

    def open(self, split: str) -> Sequences:
        """The sequences of a split, opened once."""
        with self.lock:
            if split not in self.splits:
                self.splits[split] = open_split(self.place, self.manifest, split, self.config.feed)
                if isinstance(self.splits[split], StreamedSequences):
                    self.splits[split].keep_previous = True  # type: ignore[attr-defined]
            return self.splits[split]

    def greet(self, ask: dict[str, Any]) -> Sequences:
        """The split a client wants. Raises LlmopsError when it expects other data or another order."""
        if ask.get("dataset") != self.digest:
            raise LlmopsError(f"serves {self.place}, and the trainer reads another dataset; give both the same")
        sequences = self.open(str(ask.get("split")))
        mine = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(sequences.arrangement).items()}
        if ask.get("arrangement") != mine:
            differing = [name for name, value in mine.items() if ask.get("arrangement", {}).get(name) != value]
            raise LlmopsError(f"reads its rows in another order ({', '.join(differing)}); give both the same feed settings")
        return sequences

    def answer(self, split: str, sequences: Sequences, ask: dict[str, Any]) -> Table:
        """The rows asked for; the step tells the storage what to read ahead."""
        rows = np.array(ask["rows"], np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(sequences)):
            raise LlmopsError(f"was asked for rows {rows.min()}-{rows.max()} of {len(sequences)}")
        if ask.get("step") is not None:
            self.announce(split, sequences, int(ask["seed"]), int(ask["batch_rows"]), int(ask["step"]))
        taken = sequences.take(rows)
        table = {"input_ids": taken.input_ids, "document_ids": taken.document_ids}
        return table if taken.loss_mask is None else {**table, "loss_mask": taken.loss_mask}

    def announce(self, split: str, sequences: Sequences, seed: int, batch_rows: int, step: int) -> None:
        """Moves the reading ahead on to the furthest step that was asked for, for ranks are not all at the same."""
        key = (split, seed, batch_rows)
        with self.lock:
            order, furthest = self.orders.get(key) or (Order(len(sequences), batch_rows, seed, sequences.arrangement), -1)
            self.orders[key] = (order, max(furthest, step))
            if step > furthest:
                sequences.expect(order, step)


class Client(socketserver.BaseRequestHandler):
    """One connection of a trainer."""

    def handle(self) -> None:
        feed: Feed = self.server.feed  # type: ignore[attr-defined]
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with feed.lock:
            feed.num_clients += 1
        try:
            self.converse(feed)
        except ConnectionError as error:
            logger.info("%s:%d: %s", *self.client_address[:2], error)
        finally:
            with feed.lock:
                feed.num_clients -= 1
                feed.left = time.monotonic()

    def converse(self, feed: Feed) -> None:
        """Answers until the trainer hangs up or says that training is over."""
        sequences: Sequences | None = None
        split = ""
        while (received := receive(self.request)) is not None:
            ask = received[0]
            try:
                match ask.get("ask"):
                    case "hello":
                        sequences, split = feed.greet(ask), str(ask["split"])
                        send(self.request, {"ok": True})
                    case "rows" if sequences is not None:
                        send(self.request, {"ok": True}, feed.answer(split, sequences, ask))
                    case "stop":
                        send(self.request, {"ok": True})
                        feed.exit_code = int(ask.get("exit_code", 0))
                        feed.stopping.set()
                    case _:
                        send(self.request, {"ok": True})
            except LlmopsError as error:
                send(self.request, {"error": str(error)})


class Server(socketserver.ThreadingTCPServer):
    """Listens for trainers."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve(config: FeedServerConfig) -> None:
    """Serves until a trainer says that training is over, or nobody has been connected for `idle_s`. Raises LlmopsError then."""
    feed = Feed(config)
    try:
        server = Server((config.host, config.port), Client)
    except OSError as error:
        raise LlmopsError(f"{config.host}:{config.port}: cannot listen there ({error.strerror or error}); choose another port") from error
    server.feed = feed  # type: ignore[attr-defined]
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        logger.info("feed of %s listens on %s:%d", feed.place, *server.server_address[:2])
        while not feed.stopping.wait(1.0):
            if feed.num_clients == 0 and time.monotonic() - feed.left > config.idle_s:
                server.shutdown()
                raise LlmopsError(f"no trainer was connected for {config.idle_s:.0f} s; start the training hosts sooner or raise idle_s")
        server.shutdown()
    logger.info("training is over (exit code %d)", feed.exit_code)


def stop(servers: list[str], exit_code: int) -> None:
    """Tells feeds that training is over; those that are gone already need not be told."""
    for server in servers:
        try:
            with socket.create_connection(address(server), timeout=10) as connection:
                send(connection, {"ask": "stop", "exit_code": exit_code})
                receive(connection)
        except OSError as error:
            logger.info("feed %s: %s", server, error)
