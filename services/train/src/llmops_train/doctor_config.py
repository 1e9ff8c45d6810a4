"""Settings of `llmops-train doctor`."""

from typing import Self

from pydantic import Field, model_validator

from llmops_shared.config import Config
from llmops_train.launch_config import LaunchConfig


class AllReduceConfig(Config):
    """How fast processes add up tensors; each takes part in `rounds` of `size_mb`."""

    size_mb: int = Field(default=64, ge=1)
    """Size of the tensor."""
    rounds: int = Field(default=5, ge=1)
    """Measured rounds, after one to warm up."""
    at_least_gb_per_s: float = Field(default=0.0, ge=0)
    """Least bus bandwidth, as nccl-tests defines it."""
    max_clock_offset_s: float = Field(default=1.0, gt=0)
    """How far the hosts' clocks may be apart."""
    launch: LaunchConfig = Field(default=LaunchConfig(processes=2, max_restarts=0))
    """The processes, on this machine or as one of several."""


class DoctorConfig(Config):
    """What to check; at least one. Findings exit with 3, each with its fix."""

    name: str = Field(default="doctor", min_length=1)
    """Name of the report."""
    dockerfile: str | None = Field(default=None)
    """Lints a Dockerfile: version pairs that are known to break, EFA settings that are missing, GPUDirect."""
    image_root: str | None = Field(default=None)
    """Lints an image from inside, `/` there: the versions really installed and the variables really set."""
    efa_devices: int | None = Field(default=None, ge=1)
    """EFA devices this host must have; a p4d.24xlarge has 4, a p5.48xlarge 32."""
    nccl_log: str | None = Field(default=None)
    """Log of a run with NCCL_DEBUG=INFO: provider `efa` was really taken, with GPUDirect."""
    all_reduce: AllReduceConfig | None = Field(default=None)
    """Measures an all-reduce between processes and compares their clocks."""
    clock: bool = Field(default=False)
    """Whether this host's clock is synchronised, and no GPU is slowed down."""
    disk: str | None = Field(default=None)
    """Folder whose disk is measured."""
    disk_free_gb: float = Field(default=10.0, ge=0)
    """Least free space on it."""
    disk_at_least_mb_per_s: float = Field(default=50.0, ge=0)
    """Least speed of writing to it."""
    fsx: str | None = Field(default=None)
    """Folder that must be an FSx for Lustre mount with something to read in it."""

    @model_validator(mode="after")
    def check_something(self) -> Self:
        wanted = (
            self.dockerfile,
            self.image_root,
            self.efa_devices,
            self.nccl_log,
            self.all_reduce,
            self.clock or None,
            self.disk,
            self.fsx,
        )
        if all(one is None for one in wanted):
            raise ValueError("nothing to check: give dockerfile, image_root, efa_devices, nccl_log, all_reduce, clock, disk or fsx")
        return self
