"""How far long work is: a line now and then with the rate and the time that is left."""

import logging
import sys
import time

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = {True: 2.0, False: 15.0}  # a person at a terminal looks more often than a log is read


class Progress:
    """Counts finished items of one kind of work."""

    def __init__(self, verb: str, total: int, what: str = "rows") -> None:
        self.verb, self.total, self.what = verb, total, what
        self.done = self.kept = 0
        self.began = self.said = time.perf_counter()

    def keep(self, count: int) -> None:
        """Items that an earlier try finished; they say nothing about the rate."""
        self.kept += count
        if self.kept and self.kept + self.done <= self.total:
            logger.info("kept %d of %d %s that are %s already", self.kept, self.total, self.what, self.verb)

    def advance(self, count: int) -> None:
        """Items finished now."""
        self.done += count
        now = time.perf_counter()
        finished = self.kept + self.done
        if finished < self.total and now - self.said < SECONDS_BETWEEN_LINES[sys.stderr.isatty()]:
            return
        self.said = now
        rate = self.done / max(now - self.began, 1e-9)
        left = (self.total - finished) / rate if rate else 0.0
        logger.info("%s %d of %d %s, %.3g a second, %.0f s left", self.verb, finished, self.total, self.what, rate, left)
