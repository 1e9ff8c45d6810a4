"""A line of log every few seconds of long work: how far, how fast, how long still."""

import logging
import time

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts steps of known number."""

    def __init__(self, what: str, total: int, bytes_per_step: float = 0.0) -> None:
        self.what, self.total, self.bytes_per_step, self.done = what, total, bytes_per_step, 0
        self.started = self.told = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        if now - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told = now
        spent = now - self.started
        rate = f", {self.done * self.bytes_per_step / spent / 1e6:.1f} MB/s" if self.bytes_per_step else ""
        left = spent / self.done * (self.total - self.done)
        logger.info("%s %d of %d parts%s, about %.0f s left", self.what, self.done, self.total, rate, left)
