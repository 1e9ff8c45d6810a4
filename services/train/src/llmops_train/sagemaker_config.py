"""Settings of a SageMaker training job."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config


class InstanceGroup(Config):
    """Instances of one type in a heterogeneous cluster."""

    name: str = Field(pattern=r"^[a-zA-Z0-9-]{1,64}$")
    """Name of the group."""
    instance_type: str = Field(pattern=r"^ml\.")
    """SageMaker instance type."""
    num_instances: int = Field(ge=1)
    """Instances of the group."""
    feeds: bool = Field(default=False)
    """Whether it reads and collates data for the other group, and does not train."""


class SageMakerConfig(Config):
    """A training job; what is left out comes from the platform document."""

    platform: str = Field(min_length=1)
    """Platform: its file, or what `terraform output -json` printed; gives role, network, keys, buckets and defaults."""
    image: str | None = Field(default=None)
    """Container image: our own, or an AWS Deep Learning Container; none: the newest of a commit in the platform's repository, by digest."""
    wheels: list[str] = Field(default=[])
    """Script mode, for an image without our code: wheel files of llmops_shared and llmops_train, installed at the start."""
    instance_type: str | None = Field(default=None, pattern=r"^ml\.")
    """Instance type; none: the platform's."""
    num_instances: int | None = Field(default=None, ge=1)
    """Instances; none: the platform's."""
    instance_groups: list[InstanceGroup] = Field(default=[])
    """A heterogeneous cluster in place of instance_type and num_instances: one group trains, another may feed it."""
    volume_gb: int | None = Field(default=None, ge=1)
    """Disk of each instance; none: room for copies of dataset and model, and 100 GB. Ignored by types with NVMe disks, says SageMaker."""
    distribution: Literal["torchrun", "mpi", "smddp", "smp"] = Field(default="torchrun")
    """What starts and joins the processes; `mpi` and `smp` take an image of AWS and script mode; the engine is `parallel.engine`."""
    mpi_options: list[str] = Field(default=[])
    """Further options of mpirun; with `distribution: mpi`."""
    channel: Literal["auto", "none", "file", "fastfile", "fsx"] = Field(default="auto")
    """How the dataset comes: `none`: the job streams it from S3 itself; `file`, `fastfile`: S3 channels; `fsx`: the platform's file system;
    `auto`: FSx where there is one, else as the input planner says."""
    spot: bool | None = Field(default=None)
    """Spare capacity; none: as the platform says. The job goes on from its checkpoint."""
    warm_pool_s: int | None = Field(default=None, ge=0, le=3600)
    """Seconds the instances are kept for the next job; none: as the platform says; not with spot."""
    max_runtime_s: int | None = Field(default=None, ge=1)
    """Seconds after which the job is stopped; none: as the platform says."""
    max_wait_s: int | None = Field(default=None, ge=1)
    """Spot: seconds after which it is given up, waiting included; none: as the platform says."""
    encrypt_traffic: bool = Field(default=True)
    """Encrypts what containers send each other (it costs bandwidth; not over EFA, where the hardware isolates the traffic)."""
    require_efa: bool | None = Field(default=None)
    """Whether a host without an EFA device stops the job, in place of TCP; none: as the platform says, with several hosts."""
    environment: dict[str, str] = Field(default={})
    """Further environment variables of the container."""
    tags: dict[str, str] = Field(default={})
    """Further tags."""
    wait: bool = Field(default=True)
    """Follows the job and its log to the end; false: returns once it is submitted."""
    poll_s: float = Field(default=5.0, gt=0)
    """Seconds between two looks at a job that is followed."""

    @model_validator(mode="after")
    def check_groups(self) -> Self:
        if self.instance_groups and (self.instance_type or self.num_instances):
            raise ValueError("instance_groups stand in place of instance_type and num_instances; give one or the other")
        if self.instance_groups and sum(not group.feeds for group in self.instance_groups) != 1:
            raise ValueError("instance_groups: exactly one trains (feeds: false)")
        if len({group.name for group in self.instance_groups}) != len(self.instance_groups):
            raise ValueError("instance_groups: two have the same name")
        return self

    @model_validator(mode="after")
    def check_distribution(self) -> Self:
        if self.mpi_options and self.distribution != "mpi":
            raise ValueError("mpi_options go with distribution mpi")
        if self.distribution in ("mpi", "smp") and not self.wheels:
            raise ValueError(f"distribution {self.distribution} is started by AWS's driver: give wheels (script mode) and an image of AWS")
        if self.distribution != "torchrun" and self.instance_groups:
            raise ValueError(f"distribution {self.distribution} has no heterogeneous clusters here; use torchrun")
        return self

    @model_validator(mode="after")
    def check_times(self) -> Self:
        if self.spot and self.warm_pool_s:
            raise ValueError("warm_pool_s: SageMaker keeps no spot instances; leave one of the two out")
        if self.max_wait_s and self.max_runtime_s and self.max_wait_s < self.max_runtime_s:
            raise ValueError(f"max_wait_s {self.max_wait_s} must be at least max_runtime_s {self.max_runtime_s}")
        if reserved := [name for name in self.environment if name.startswith("SAGEMAKER_")]:
            raise ValueError(f"environment: {', '.join(reserved)}: names that start with SAGEMAKER_ are SageMaker's")
        return self
