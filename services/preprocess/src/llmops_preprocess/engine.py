"""Where tasks run: processes of this machine, or a Spark cluster. A task is a function of ours and a value it takes."""

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.select_records import Shuffle, Sorting
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Runs tasks."""

    @property
    def shuffle(self) -> Shuffle:
        """Finds what is equal over all parts."""

    @property
    def requests(self) -> Counter[str]:
        """What the tasks sent to S3 so far."""

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """The results, as they get done. Raises LlmopsError when a worker dies, or for what a task raises."""


@contextlib.contextmanager
def engine_for(config: PreprocessConfig, num_slices: int) -> Iterator[Engine]:
    """The engine of the settings."""
    if config.engine == "spark":
        from llmops_preprocess.spark import spark_engine

        with spark_engine(config) as found:
            yield found
        return
    local = Processes(min(config.workers or len(os.sched_getaffinity(0)), num_slices))
    try:
        yield local
    finally:
        local.close()


def counted_call(function: Callable[[T], R], task: T) -> tuple[R, Counter[str]]:
    """What a worker does: the result, and the requests to S3 that it took."""
    from llmops_shared import s3_requests

    s3_requests.take()
    result = function(task)
    return result, s3_requests.take()


class Processes:
    """The engine `local`: as many tasks at a time as there are workers; one worker is this process itself."""

    def __init__(self, workers: int) -> None:
        self.workers, self.requests, self.shuffle = workers, Counter[str](), Sorting()
        self.pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        if self.workers == 1 or len(tasks) == 1:
            yield from map(function, tasks)
            return
        if self.pool is None:
            # the server forks without the threads of this process
            self.pool = ProcessPoolExecutor(self.workers, mp_context=get_context("forkserver"))
        running = set[Future[tuple[R, Counter[str]]]]()
        try:
            for task in tasks:
                running.add(self.pool.submit(counted_call, function, task))
                while len(running) > self.workers:  # one waits for each that is done
                    yield from self.collect(running)
            while running:
                yield from self.collect(running)
        except BrokenProcessPool as error:
            raise LlmopsError(
                f"engine local: one of {self.workers} worker processes was killed, most often for want of memory; "
                f"run the same command again, it goes on with the parts that are done, with workers={max(1, self.workers // 2)}"
            ) from error
        finally:
            for future in running:
                future.cancel()

    def collect(self, running: set[Future[tuple[Any, Counter[str]]]]) -> Iterator[Any]:
        """Those that are done, at least one."""
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            running.discard(future)
            result, sent = future.result()
            self.requests += sent
            yield result

    def close(self) -> None:
        """Ends the workers."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
