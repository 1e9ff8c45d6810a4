"""The network between hosts: NCCL says which one it took, and a run that was promised EFA does not go on over TCP."""

import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - this module is imported late
import torch.distributed as dist  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.doctor.efa import MEND, network_lines, provider_problem
from llmops_train.parallel.world import World

logger = logging.getLogger(__name__)


def listen(world: World) -> Path:
    """Has NCCL write what it does to a file; to be called before its first communicator is made."""
    path = Path(tempfile.gettempdir(), f"llmops-nccl-{os.getpid()}-rank-{world.rank}-attempt-{world.attempt}.log")
    path.unlink(missing_ok=True)
    os.environ.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="INIT,NET", NCCL_DEBUG_FILE=str(path))
    return path


def demand_efa(path: Path, world: World, control: Any) -> None:
    """Raises LlmopsError on every process when NCCL took another network than EFA on any of their hosts."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if world.local_rank == 0:
        for line in network_lines(text):
            logger.info("%s", line)
    found: list[Any] = [None] * world.size
    dist.all_gather_object(found, provider_problem(text, f"host {socket.gethostname()}, process {world.rank}"), group=control)
    if problem := next((one for one in found if one is not None), None):
        raise LlmopsError(
            f"{problem}, and parallel.require_efa forbids that; {MEND}, or allow TCP (SageMaker: launch.sagemaker.require_efa=false)"
        )


def first_collective(device: torch.device) -> None:
    """Makes NCCL choose its network, which it does with its first communicator."""
    dist.all_reduce(torch.ones(1, device=device))
    torch.cuda.synchronize(device)
