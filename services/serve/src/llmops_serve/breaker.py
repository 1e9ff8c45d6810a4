"""A circuit breaker: a server that fails again and again is left alone for a while, and tried with one request after it."""

import time
from collections.abc import Callable

FAILURES = 3
"""In a row, until the server is left alone."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class Breaker:
    """The state of one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._closed_again_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the server is being left alone, or on trial after that."""
        return self._closed_again_at is not None

    def allows(self) -> bool:
        """Whether a request may go to the server; after a pause that is one request, until its outcome or the next pause is over."""
        if self._closed_again_at is None:
            return True
        now = self._clock()
        if now < self._closed_again_at:
            return False
        self._closed_again_at = now + self._pause_s
        return True

    def succeeded(self) -> None:
        """The server answered."""
        if self._num_failures:
            self._num_failures = 0
            self._pause_s, self._closed_again_at = FIRST_PAUSE_S, None

    def failed(self) -> None:
        """The server did not answer."""
        self._num_failures += 1
        if self._num_failures < FAILURES:
            return
        if self._closed_again_at is not None:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._closed_again_at = self._clock() + self._pause_s
