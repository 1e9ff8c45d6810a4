"""SIGTERM, as a spot instance or a scheduler sends it: the run saves itself and ends without a document."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llmops_shared.errors import Stopped


class Interrupted(Stopped):
    """The run was asked to stop, and did so after a complete checkpoint."""

    def __init__(self, step: int) -> None:
        saved = "its checkpoint is complete: run the same command again to go on" if step else "nothing was trained yet"
        super().__init__(f"interrupted after step {step}; {saved}")
        self.step = step


class Stop:
    """Whether somebody asked this process to stop."""

    asked = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Within it, SIGTERM asks to stop at the end of a step. Only a process's main thread can listen to signals."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        stop.asked = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
