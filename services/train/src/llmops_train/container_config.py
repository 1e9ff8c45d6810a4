"""Settings of the container's entry point."""

from pydantic import Field

from llmops_shared.config import Config


class ContainerConfig(Config):
    """Settings of `llmops-train train`; the run's own are in SageMaker's hyperparameters.json."""

    root: str = Field(default="/opt/ml", min_length=1)
    """Folder in which SageMaker puts input and looks for results."""


class InContainer(Config):
    """What the launcher tells the container beside the run's settings, as hyperparameters `container.*`."""

    run_id: str = Field(default="sagemaker", min_length=1)
    """Name of the job: hosts with the same one meet."""
    processes: int | None = Field(default=None, ge=1)
    """Processes of each host; none: one a GPU, or one."""
    max_restarts: int = Field(default=3, ge=0)
    """Times all processes are started again after one has died."""
    feeding_groups: list[str] = Field(default=[])
    """Instance groups that read and collate for the others."""
    require_efa: bool = Field(default=False)
    """Whether a host without EFA is an error."""
    channel: str | None = Field(default=None)
    """Input channel that holds the dataset's shards; none: they are read where the dataset is."""
