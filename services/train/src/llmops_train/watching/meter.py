"""How far training is: a bar on a terminal, a line every few seconds elsewhere."""

import logging
import sys
import time
from typing import Any

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


class Meter:
    """Steps, loss, rate, share of the machine's arithmetic, and the time left."""

    def __init__(self, num_steps: int, first_step: int, peak_share: float | None = None) -> None:
        """`peak_share`: model FLOPs utilization at a token a second; None where it is not known."""
        self.num_steps = num_steps
        self.first_step = first_step
        self.peak_share = peak_share
        self.num_tokens = 0
        self.began = self.shown = time.monotonic()
        self.bar = open_bar(num_steps, first_step) if sys.stderr.isatty() else None

    def show(self, step: int, loss: float, num_tokens: int) -> None:
        """Counts a step, and shows it when it is time."""
        self.num_tokens += num_tokens
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(self.words(loss, now - self.began)), refresh=False)
            self.bar.update(1)
            if step >= self.num_steps:
                self.close()
            return
        if now - self.shown < SECONDS_BETWEEN_LINES and step < self.num_steps:
            return
        self.shown = now
        left = (now - self.began) / max(step - self.first_step, 1) * (self.num_steps - step)
        logger.info("step %d of %d, %s, %.0f s left", step, self.num_steps, ", ".join(self.words(loss, now - self.began)), left)

    def words(self, loss: float, seconds: float) -> list[str]:
        """The figures, as a person reads them."""
        rate = self.num_tokens / max(seconds, 1e-9)
        utilization = [f"MFU {rate * self.peak_share:.1%}"] if self.peak_share is not None else []
        return [f"loss {loss:.3f}", f"{rate:.0f} tokens/s", *utilization]

    def close(self) -> None:
        """Leaves the bar as it is, and the next line below it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def open_bar(num_steps: int, first_step: int) -> Any:
    """tqdm's bar, with the time left from this run's own steps."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    shape = "{l_bar}{bar}| step {n_fmt} of {total_fmt}{postfix} [{elapsed}, {remaining} left]"
    return tqdm(total=num_steps, initial=first_step, file=sys.stderr, bar_format=shape, dynamic_ncols=True, mininterval=0.2)
