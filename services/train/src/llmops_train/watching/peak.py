"""The rate of a machine's own matrix products, which utilization is measured against."""

import time
from functools import cache

import torch  # noqa: TID253 - this module is imported late

REPEATS = 3


@cache
def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating point operations a second of one process's best square product; a tenth of a second or two on a CPU."""
    size = 8192 if device == "cuda" else 768
    one, other = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    for _ in range(REPEATS + 1):  # the first one only warms up
        began = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
