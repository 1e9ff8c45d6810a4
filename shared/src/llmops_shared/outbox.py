"""Calls to a server that may be away for a while: sent in order by a thread, and again until the server takes them."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S, HURRY_S = 0.2, 5.0, 5.0

Call = Callable[[], object]


class Outbox:
    """Takes calls without waiting for them.

    `is_passing` says of an error whether the server may take the same call later. A call may reach the server twice, when its answer was
    lost; so calls must be such that twice is as good as once.
    """

    def __init__(self, name: str, is_passing: Callable[[Exception], bool], patience_s: float = 600.0) -> None:
        self.name = name
        self.is_passing = is_passing
        self.patience_s = patience_s
        self.calls: deque[Call] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.failed: Exception | None = None
        self.trouble: Exception | None = None
        self.thread = threading.Thread(target=self.work, name=f"outbox of {name}", daemon=True)
        self.thread.start()

    def put(self, call: Call) -> None:
        """Queues a call."""
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()

    def close(self) -> None:
        """Waits until all calls were taken. Raises LlmopsError when one was refused, or the server stays away beyond the patience."""
        left = self.drain(self.patience_s)
        if self.failed is not None:
            raise LlmopsError(f"{self.name}: refuses what a job recorded ({self.failed})") from self.failed
        if left:
            raise LlmopsError(
                f"{self.name}: did not answer for {self.patience_s:.0f} s, and {left} calls are not recorded ({self.trouble}); "
                f"run the same command again when it is back"
            )

    def abandon(self) -> None:
        """Sends what goes within seconds, for a job that has failed or has to end."""
        if left := self.drain(HURRY_S):
            logger.warning("%s: %d calls are not recorded (%s)", self.name, left, self.failed or self.trouble)

    def drain(self, patience_s: float) -> int:
        """Waits, and gives the number of calls that are left."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
            if self.calls and self.trouble is not None:
                logger.warning("waiting up to %.0f s for %s (%s)", patience_s, self.name, self.trouble)
            self.changed.wait_for(lambda: not self.calls or self.failed is not None, patience_s)
            return len(self.calls)

    def work(self) -> None:
        """Sends until closed and empty; after a refusal nothing more, for later calls build on earlier ones."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.calls or self.closing)
                if not self.calls:
                    return
                call = self.calls[0]
            if not self.send(call):
                return
            with self.changed:
                self.calls.popleft()
                self.changed.notify_all()

    def send(self, call: Call) -> bool:
        """Sends one call until it is taken; False when it was refused."""
        wait_s, since = FIRST_WAIT_S, time.monotonic()
        while True:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is kept and raised where the outbox is closed
                if not self.is_passing(error):
                    with self.changed:
                        self.failed = error
                        self.changed.notify_all()
                    return False
                if self.trouble is None:
                    logger.warning("%s does not answer (%s); what is recorded meanwhile is kept", self.name, error)
                self.trouble = error
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            if self.trouble is not None:
                logger.info("%s answers again after %.0f s", self.name, time.monotonic() - since)
                self.trouble = None
            return True
