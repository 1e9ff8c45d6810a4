"""An environment: all its settings, the rules between them, and how it is read."""

import ipaddress
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from llmops_infra import hardware
from llmops_infra.pipeline_settings import Pipeline
from llmops_infra.serving_settings import Serving
from llmops_infra.settings import (
    GitHub,
    Monitoring,
    Network,
    People,
    Preprocessing,
    Retrieval,
    State,
    Storage,
    Tracking,
    Training,
)
from llmops_shared.config import Config, load_config
from llmops_shared.errors import LlmopsError

ENVIRONMENTS = Path(__file__).resolve().parents[2] / "environments"

# the VPC is cut into eight: six zones, one block for the way out, one spare; a later switch never moves a subnet
NUM_BLOCKS_BITS = 3
SMALLEST_SUBNET = 24


class Environment(Config):
    """One copy of the platform: one account and region."""

    project: str = Field(default="llmops", pattern=r"^[a-z][a-z0-9]{1,9}$")
    """Begins the name of everything."""
    name: str = Field(pattern=r"^[a-z][a-z0-9]{1,9}$")
    """Name of the environment; with `project` it must be unique in the account."""
    region: str
    """AWS region."""
    account_id: str | None = Field(default=None, pattern=r"^\d{12}$")
    """The only account to touch; none: the one the credentials belong to."""
    protect: bool = True
    """Keep what holds data from being destroyed: non-empty buckets, repositories with images, the database."""
    max_monthly_usd: float = Field(gt=0)
    """Refuse to synthesize what would cost more a month, and the limit of the budget."""
    tags: dict[str, str] = Field(default={})
    """More tags for everything."""
    state: State = State()
    """Terraform's state."""
    network: Network = Network()
    """VPC, subnets, private endpoints."""
    storage: Storage = Storage()
    """Buckets and the file system."""
    github: GitHub | None = None
    """Roles for GitHub Actions; none: not made."""
    tracking: Tracking = Tracking()
    """MLflow."""
    preprocessing: Preprocessing = Preprocessing()
    """The Glue job."""
    training: Training = Training()
    """Defaults of training jobs."""
    pipeline: Pipeline = Pipeline()
    """The pipeline and its schedule."""
    retrieval: Retrieval = Retrieval()
    """Vector stores and search."""
    people: People = People()
    """Labeling and review."""
    monitoring: Monitoring = Monitoring()
    """Dashboards, alarms, monitor job, budget."""
    serving: Serving = Serving()
    """The endpoint."""

    @property
    def prefix(self) -> str:
        """How names begin: PROJECT-NAME."""
        return f"{self.project}-{self.name}"

    @property
    def training_efa(self) -> bool:
        """Whether training jobs talk over EFA: as set, else where the type has it and several instances have something to say."""
        if self.training.efa is None:
            return hardware.has_efa(self.training.instance_type) and self.training.num_instances > 1
        return self.training.efa

    @property
    def fsx_efa(self) -> bool:
        """Whether the file system serves over EFA: as set, else where training instances can use it and the size is one with EFA."""
        fsx = self.storage.fsx
        if fsx is None:
            return False
        if fsx.efa is None:
            return hardware.reaches_fsx_by_efa(self.training.instance_type) and fsx.size_gib % fsx.efa_step_gib == 0
        return fsx.efa

    @field_validator("region")
    @classmethod
    def _region_exists(cls, region: str) -> str:
        if region not in hardware.REGIONS:
            near = get_close_matches(region, hardware.REGIONS, n=3)
            raise ValueError(f"unknown region; {'did you mean ' + ' or '.join(near) if near else 'known: ' + ', '.join(hardware.REGIONS)}?")
        return region

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [*self._network_problems(), *self._efa_problems(), *self._retrieval_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _network_problems(self) -> list[str]:
        network = self.network
        try:
            block = ipaddress.IPv4Network(network.cidr)
        except ValueError as error:
            return [f"network.cidr {network.cidr} is no network ({error}); for example 10.40.0.0/16"]
        problems = []
        largest = SMALLEST_SUBNET - NUM_BLOCKS_BITS
        if block.prefixlen > largest:
            problems.append(
                f"network.cidr {network.cidr} is too small for {network.num_zones} zones of at least a /{SMALLEST_SUBNET} each: "
                f"use a /{largest} or larger, for example {block.network_address}/{largest}"
            )
        if block.prefixlen < 16:
            problems.append(f"network.cidr {network.cidr} is larger than a VPC may be: use a /16, for example {block.network_address}/16")
        if not block.is_private:
            problems.append(f"network.cidr {network.cidr} is public: use a block of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
        return problems

    def _efa_problems(self) -> list[str]:
        instance_type, fsx = self.training.instance_type, self.storage.fsx
        problems = []
        if self.training.efa and not hardware.has_efa(instance_type):
            problems.append(
                f"training.efa: {instance_type} has no EFA; set it false or use one of {', '.join(hardware.EFA_NITRO_GENERATION)}"
            )
        if fsx and fsx.efa and not hardware.reaches_fsx_by_efa(instance_type):
            able = [name for name in hardware.EFA_NITRO_GENERATION if hardware.reaches_fsx_by_efa(name)]
            problems.append(
                f"storage.fsx.efa: {instance_type} cannot reach the file system over EFA; "
                f"set storage.fsx.efa: false or use one of {', '.join(able)}"
            )
        return problems

    def _retrieval_problems(self) -> list[str]:
        if self.retrieval.pgvector and self.network.num_zones < 2:
            return ["retrieval.pgvector: Aurora needs subnets in two zones; set network.num_zones: 2"]
        return []


def environment_path(name: str) -> Path:
    """The file of a shipped environment, or the path itself where one is given."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    path = ENVIRONMENTS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in ENVIRONMENTS.glob("*.yaml")))
        raise LlmopsError(f"{name}: no such environment (there are {known}); name one of them or the path of a YAML file")
    return path


def load_environment(name: str, words: Sequence[str] = ()) -> Environment:
    """Reads an environment by its name or the path of its YAML; `key.sub=value` words win over the file.

    Raises LlmopsError that names every bad field at once, and what would be right.
    """
    return load_config(Environment, str(environment_path(name)), list(words))
