"""Metrics on their way to MLflow: the caller hands them over in a microsecond, a thread sends them."""

import threading
from collections.abc import Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from llmops_shared.tracking import Run

MAX_BATCH = 1000
"""Metrics MLflow takes in one request."""


class MetricQueue:
    """Sends metrics of a run in the background; leaving the block waits until all are sent, and raises what went wrong."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queue: SimpleQueue[tuple[Mapping[str, float], int] | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._send, name="metrics", daemon=True)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Takes figures at a step; never waits. The mapping must not change afterwards."""
        self._queue.put((values, step))

    def _send(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # what follows would fail as well; the caller learns of it at the end
            values, step = item
            names = list(values)
            try:
                for start in range(0, len(names), MAX_BATCH):
                    self._run.metrics({name: values[name] for name in names[start : start + MAX_BATCH]}, step)
            except BaseException as error:  # noqa: BLE001 - raised to the caller in __exit__
                self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
