"""How long a checkpoint keeps training waiting: ours beside torch's distributed checkpoint, blocking and asynchronous, in turn in one process.

python tests/benchmarks/bench_train_checkpoint.py [MEGABYTES] [SECONDS_OF_A_STEP]

All save the same tensors, which change between two saves; then a step computes (matrix products), as a training would. Waiting is the time
in the call that saves, and in ours also in `settle`, after the step's gradients and before its weights move. `at once` is the same without
a step in between: what the copy alone costs. The time until files are complete, and a comparison of what is read back, follow.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from llmops_train.checkpoint import Checkpoint, Progress
from llmops_train.checkpoint.piece import Piece, whole_box
from llmops_train.checkpoint.read import newest
from llmops_train.checkpoint.team import Team

ROUNDS = 5
Tensors = dict[str, torch.Tensor]


def compute(seconds: float) -> None:
    """A step's arithmetic."""
    end, matrix = time.perf_counter() + seconds, torch.ones(512, 512)
    while time.perf_counter() < end:
        matrix = (matrix @ matrix).clamp_(-1, 1)


def ours(tensors: Tensors, folder: Path, checkpoint: Checkpoint, step: int, seconds: float) -> tuple[float, float, Callable[[], Tensors]]:
    began = time.perf_counter()
    checkpoint.save([Piece(name, whole_box(tensor), tensor) for name, tensor in tensors.items()], Progress(step=step))
    waited = time.perf_counter() - began
    compute(seconds)
    again = time.perf_counter()
    checkpoint.settle()
    waited += time.perf_counter() - again
    checkpoint.finish()

    def back() -> Tensors:
        opened = newest(str(folder), "request", Team())
        assert opened is not None
        return {name: opened.read(name, whole_box(tensor)) for name, tensor in tensors.items()}

    return waited, time.perf_counter() - began, back


def theirs(tensors: Tensors, folder: Path, asynchronous: bool, seconds: float) -> tuple[float, float, Callable[[], Tensors]]:
    began = time.perf_counter()
    future = dcp.async_save(tensors, checkpoint_id=folder) if asynchronous else dcp.save(tensors, checkpoint_id=folder)
    waited = time.perf_counter() - began
    compute(seconds)
    if asynchronous:
        future.result()
    durable = time.perf_counter() - began

    def back() -> Tensors:
        read = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
        dcp.load(read, checkpoint_id=folder)
        return read

    return waited, durable, back


def main(megabytes: int, seconds: float) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="llmops-bench-checkpoint-"))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    tensors = {f"tensor_{number}": torch.randn(2 * 2**20) for number in range(megabytes // 8)}
    checkpoint = Checkpoint(str(scratch / "ours"), "request", keep=1)
    waits: dict[str, list[float]] = {}
    durables: dict[str, list[float]] = {}
    equal = dict.fromkeys(("ours", "ours at once", "dcp async", "dcp"), True)
    for number in range(ROUNDS + 1):
        for name in equal:
            for tensor in tensors.values():
                tensor.add_(1.0)
            folder, step = scratch / f"{name.replace(' ', '-')}-{number}", 2 * number + (name == "ours at once")
            if name.startswith("ours"):
                waited, durable, back = ours(tensors, scratch / "ours", checkpoint, step + 1, 0.0 if "at once" in name else seconds)
            else:
                waited, durable, back = theirs(tensors, folder, name == "dcp async", seconds)
            read = back()
            equal[name] &= all(torch.equal(read[key], tensor) for key, tensor in tensors.items())
            if number:  # the first makes buffers, ours and theirs
                waits.setdefault(name, []).append(waited)
                durables.setdefault(name, []).append(durable)
            shutil.rmtree(folder, ignore_errors=True)
    dist.destroy_process_group()
    shutil.rmtree(scratch)
    medians = {name: median(values) for name, values in waits.items()}
    for name, value in medians.items():
        print(
            json.dumps(
                {
                    "what": name,
                    "megabytes": megabytes,
                    "wait_ms": round(value * 1e3, 1),
                    "complete_s": round(median(durables[name]), 2),
                    "equal": equal[name],
                }
            )
        )
    for name in ("ours", "ours at once"):
        ratios = {f"of {peer}": round(medians[name] / medians[peer], 3) for peer in ("dcp async", "dcp")}
        print(json.dumps({"ratio": name, **ratios}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256, float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
