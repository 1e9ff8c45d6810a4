"""The engine `local`: batches go to processes of this machine, as many at a time as keep them busy."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from llmops_preprocess.batches import refine_batch
from llmops_preprocess.config import PreprocessConfig
from llmops_shared.errors import LlmopsError


def refine_in_processes(batches: Iterable[tuple[int, bytes]], num_batches: int, config: PreprocessConfig) -> Iterator[tuple[int, bytes]]:
    """The refined batches by number, as they get done. Raises LlmopsError when a process dies."""
    workers = min(config.workers or len(os.sched_getaffinity(0)), num_batches)
    if workers == 1:
        yield from ((number, refine_batch(records, config)) for number, records in batches)
        return
    # the server forks without the threads of this process
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        running: dict[Future[bytes], int] = {}
        try:
            for number, records in batches:
                running[pool.submit(refine_batch, records, config)] = number
                if len(running) > workers:  # one waits for each that is done, and no more are in memory
                    yield from collect(running)
            while running:
                yield from collect(running)
        except BrokenProcessPool as error:
            raise LlmopsError(
                f"engine local: one of {workers} worker processes was killed, most often for want of memory; "
                f"run the same command again, it goes on with the parts that are done, with workers={max(1, workers // 2)}"
            ) from error
        finally:
            for future in running:
                future.cancel()


def collect(running: dict[Future[bytes], int]) -> Iterator[tuple[int, bytes]]:
    """Those that are done, at least one."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()
