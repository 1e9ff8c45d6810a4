"""Settings of how a run is launched."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config
from llmops_train.sagemaker_config import SageMakerConfig


class LaunchConfig(Config):
    """How the processes of a run are started."""

    launcher: Literal["local", "sagemaker"] = Field(default="local")
    """`local`: torchrun on this machine; `sagemaker`: a training job, whose log is followed here."""
    processes: int | None = Field(default=None, ge=1)
    """Processes of each node; none: one a GPU, or one."""
    nodes: int = Field(default=1, ge=1)
    """`local`: machines that each run this command with their own `node`."""
    node: int = Field(default=0, ge=0)
    """`local`: number of this machine, from 0."""
    rendezvous: str | None = Field(default=None)
    """`local`: `host:port` of node 0, where the machines meet."""
    address: str | None = Field(default=None)
    """`local`: name or address of this machine by which the others reach it; none: looked up."""
    run_id: str | None = Field(default=None)
    """Machines with the same one meet; with `sagemaker` the job has this name. None: made from the settings."""
    max_restarts: int = Field(default=3, ge=0)
    """`local`: times all processes are started again after one has died; they go on from the last checkpoint."""
    join_timeout_s: float = Field(default=900.0, gt=0)
    """`local`: longest wait for the other machines."""
    sagemaker: SageMakerConfig | None = Field(default=None)
    """The training job."""

    @model_validator(mode="after")
    def check_launcher(self) -> Self:
        if self.nodes > 1 and (self.rendezvous is None or self.run_id is None):
            raise ValueError("several nodes need rendezvous: host:port of node 0, and the same run_id")
        if self.node >= self.nodes:
            raise ValueError(f"node {self.node} of {self.nodes}: they count from 0")
        if (self.launcher == "sagemaker") != (self.sagemaker is not None):
            raise ValueError("launcher sagemaker needs `sagemaker: {...}`, and only it")
        if self.launcher == "sagemaker" and (self.nodes > 1 or self.rendezvous or self.address):
            raise ValueError("nodes, rendezvous and address are for launcher local; the job's machines are sagemaker.num_instances")
        return self
