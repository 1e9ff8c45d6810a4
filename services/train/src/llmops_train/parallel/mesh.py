"""The run's processes as a grid: pipeline stages, data shares, and tensor neighbours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch  # noqa: TID253 - this module is imported late
import torch.distributed as dist  # noqa: TID253
from torch._C._distributed_c10d import HashStore, PrefixStore  # noqa: TID253
from torch.distributed.device_mesh import init_device_mesh  # noqa: TID253
from torch.distributed.rendezvous import rendezvous  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.parallel.network import demand_efa, first_collective, listen
from llmops_train.parallel.world import World
from llmops_train.parallel_config import ParallelConfig

logger = logging.getLogger(__name__)

TIMEOUT = timedelta(minutes=30)

DIMENSIONS = ("pipeline", "data", "tensor")  # tensor neighbours talk most, so they have neighbouring ranks, on one node


@dataclass(frozen=True)
class Mesh:
    """The grid, and where this process is in it."""

    world: World
    device: torch.device
    """Where this process computes."""
    data: int = 1
    """Processes with different rows of a batch."""
    tensor: int = 1
    """Processes that split each matrix."""
    pipeline: int = 1
    """Stages."""
    devices: Any = None
    """torch's DeviceMesh over DIMENSIONS; None for a process of its own."""
    control: Any = None
    """Gloo group of all processes for what the host's memory holds."""
    background: Any = None
    """The same for the checkpoint's thread: two threads must not share a group."""

    @property
    def data_rank(self) -> int:
        return self.world.rank // self.tensor % self.data

    @property
    def tensor_rank(self) -> int:
        return self.world.rank % self.tensor

    @property
    def pipeline_rank(self) -> int:
        return self.world.rank // (self.tensor * self.data)

    @property
    def counts(self) -> bool:
        """Whether this process's figures are added up: one of each data share, where the loss is."""
        return self.tensor_rank == 0 and self.pipeline_rank == self.pipeline - 1

    def total(self, values: list[float], everywhere: bool = False) -> list[float]:
        """The sums over all data shares, or over all processes."""
        if self.devices is None:
            return values
        mine = torch.tensor(values if everywhere or self.counts else [0.0] * len(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(mine)
        return [float(value) for value in mine.tolist()]


@contextmanager
def joined(config: ParallelConfig, world: World) -> Iterator[Mesh]:
    """Meets the other processes. Raises LlmopsError when the config does not fit their number."""
    check_size(config, world)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", world.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if config.engine == "none":
        yield Mesh(world, device)
        return
    efa = config.require_efa and world.size > world.local_size
    if efa and not cuda:
        raise LlmopsError("parallel.require_efa: there is no GPU here, so the processes talk by Gloo over TCP; use GPUs, or false")
    log = listen(world) if efa else None
    start_processes(backend_of(config, cuda), world)
    try:
        data = world.size // (config.tensor * config.pipeline)
        devices = init_device_mesh(device.type, (config.pipeline, data, config.tensor), mesh_dim_names=DIMENSIONS)
        control, background = dist.new_group(backend="gloo"), dist.new_group(backend="gloo")
        if log is not None:
            first_collective(device)
            demand_efa(log, world, control)
        yield Mesh(world, device, data, config.tensor, config.pipeline, devices, control, background)
    finally:
        dist.destroy_process_group()


def check_size(config: ParallelConfig, world: World) -> None:
    """Raises LlmopsError when the processes cannot be laid out as the config says."""
    if config.engine == "none" and world.size > 1:
        raise LlmopsError(
            f"parallel.engine none is one process, but the launcher started {world.size}: they would train {world.size} equal models; "
            f"choose parallel.engine=ddp, fsdp2 or deepspeed"
        )
    cells = config.tensor * config.pipeline
    if world.size % cells:
        raise LlmopsError(
            f"{world.size} processes cannot be laid out as parallel.tensor {config.tensor} x parallel.pipeline {config.pipeline}; "
            f"start a multiple of {cells}"
        )


def backend_of(config: ParallelConfig, cuda: bool) -> str:
    """The collectives' library. Raises LlmopsError for one that is not here."""
    match config.backend:
        case "auto":
            return "cpu:gloo,cuda:nccl" if cuda else "gloo"
        case "nccl" if not cuda:
            raise LlmopsError("parallel.backend nccl needs a CUDA device, and there is none here; use gloo or auto")
        case "smddp":
            load_smddp()
            return "smddp"
        case word:
            return word


def load_smddp() -> None:
    """Registers SageMaker's backend with torch (https://docs.aws.amazon.com/sagemaker/latest/dg/data-parallel-modify-sdp-pt.html)."""
    try:
        import smdistributed.dataparallel.torch.torch_smddp  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise LlmopsError(
            f"parallel.backend smddp: SageMaker's data parallel library is not here ({error}); it comes with AWS's PyTorch training images "
            f"on ml.p4d and larger: run it there, or use parallel.backend=auto"
        ) from error


def start_processes(backend: str, world: World) -> None:
    """Starts torch's process group, also for one process that nobody launched."""
    if world.address is None:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        return
    try:
        store, rank, size = next(rendezvous("env://", world.rank, world.size, timeout=TIMEOUT))
        # torchrun's static rendezvous keeps one store for all attempts, and Gloo would find the addresses of processes that are dead
        store = PrefixStore(f"attempt-{world.attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    except (dist.DistError, ValueError) as error:
        raise LlmopsError(f"rank {world.rank} of {world.size}: does not meet the others at {world.address} ({error})") from error
