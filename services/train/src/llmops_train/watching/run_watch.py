"""The watch over a run: utilization, memory, padding, and examples at each evaluation."""

import resource
from collections.abc import Callable

import torch  # noqa: TID253 - this module is imported late

from llmops_train.checkpoint.progress import Window
from llmops_train.config import TrainConfig
from llmops_train.watching.meter import Meter
from llmops_train.watching.peak import matmul_rate
from llmops_train.watching.watch import Watch


class RunWatch(Watch):
    """Looks at a run of whose arithmetic it knows the amount."""

    def __init__(
        self,
        config: TrainConfig,
        sequence_length: int,
        flops_a_token: float | None,
        num_processes: int,
        evaluated: Callable[[int], None] | None = None,
    ) -> None:
        """`flops_a_token`: None for a family whose formula is not known, whose utilization is then not told."""
        self.tokens_a_step = config.batch_sequences * sequence_length
        self.show_examples = evaluated
        self.peak_share = None
        if flops_a_token is not None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
            self.peak_share = flops_a_token / (matmul_rate(device, dtype) * num_processes)

    def start(self, num_steps: int, first_step: int) -> Meter:
        return Meter(num_steps, first_step, self.peak_share)

    def figures(self, window: Window) -> dict[str, float]:
        rate = window.num_tokens / window.seconds
        padding = 1 - window.num_tokens / (window.num_steps * self.tokens_a_step)
        found = {"memory_mib": memory_mib(), "padding_share": padding}
        return found if self.peak_share is None else {**found, "mfu": rate * self.peak_share}

    def evaluated(self, step: int) -> None:
        if self.show_examples is not None:
            self.show_examples(step)


def memory_mib() -> float:
    """Most memory this process has had: of the GPU where it computes on one, else of the machine."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
