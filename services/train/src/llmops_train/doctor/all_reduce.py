"""How fast the processes of a job add up tensors: one of these runs in each of them."""

import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from llmops_train.doctor.finding import Finding
from llmops_train.doctor_config import AllReduceConfig


def measure(config: AllReduceConfig) -> dict[str, Any] | None:
    """Starts the processes and returns what the first one measured; None on another node than the first's.

    Raises LlmopsError when they do not meet.
    """
    from llmops_train.launchers.local import count_gpus, run_elastic

    with tempfile.TemporaryDirectory(prefix="llmops-doctor-") as scratch:
        result = Path(scratch) / "result.json"
        command = ["-m", "llmops_train.doctor.all_reduce", str(config.size_mb), str(config.rounds), str(result)]
        run_elastic(command, config.launch, config.launch.processes or count_gpus() or 1, scratch)
        found: dict[str, Any] | None = json.loads(result.read_text()) if result.exists() else None
    return found


def check(config: AllReduceConfig, measured: dict[str, Any]) -> list[Finding]:
    """Findings about what was measured."""
    findings = []
    speed, offset = measured["bus_gb_per_s"], measured["clock_offset_s"]
    if speed < config.at_least_gb_per_s:
        findings.append(
            Finding(
                "all_reduce",
                f"{measured['processes']} processes reach {speed:.2f} GB/s ({measured['backend']}), less than {config.at_least_gb_per_s:g}",
                "look at nccl_log: EFA with GPUDirect reaches tens of GB/s between hosts; check security group, placement and image",
            )
        )
    if offset > config.max_clock_offset_s:
        findings.append(
            Finding("clock_offset", f"the hosts' clocks are {offset:.2f} s apart", "start chrony with the server 169.254.169.123 on each")
        )
    return findings


def take_part(size_mb: int, rounds: int, result: str) -> None:
    """What each process does. Bus bandwidth is bytes x 2(n-1)/n by seconds, as nccl-tests has it."""
    import torch
    import torch.distributed as dist

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=3))
    rank, size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", rank % torch.cuda.device_count()) if backend == "nccl" else torch.device("cpu")
    tensor = torch.ones(size_mb * 2**20 // 4, device=device)
    dist.all_reduce(tensor)
    assert float(tensor[0]) == size, "an all-reduce gave a wrong sum"
    dist.barrier()
    clocks = torch.zeros(size, dtype=torch.float64, device=device)
    clocks[rank] = time.time()
    dist.all_reduce(clocks)
    began = time.monotonic()
    for _ in range(rounds):
        dist.all_reduce(tensor)
        tensor.fill_(1.0)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.monotonic() - began
    bus = tensor.numel() * 4 * rounds * 2 * (size - 1) / size / seconds / 1e9
    if rank == 0:
        offset = float(clocks.max() - clocks.min())
        Path(result).write_text(json.dumps({"bus_gb_per_s": bus, "processes": size, "backend": backend, "clock_offset_s": offset}))
    dist.destroy_process_group()


if __name__ == "__main__":
    take_part(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
