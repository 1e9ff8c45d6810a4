"""The settings of each part of the platform; `config.Environment` holds them together."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config

INSTANCE_TYPE = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"
IMAGE_TAG = r"^[a-zA-Z0-9_][\w.-]{0,127}$"

PrivateService = Literal[
    "sagemaker.api", "sagemaker.runtime", "mlflow", "ecr.api", "ecr.dkr", "logs", "monitoring", "events", "sts", "kms",
    "secretsmanager", "ssm", "textract", "comprehend", "bedrock-runtime",
]  # fmt: skip
PRIVATE_SERVICES: list[PrivateService] = list(PrivateService.__args__)  # type: ignore[attr-defined]


class State(Config):
    """Where Terraform keeps its state."""

    backend: Literal["local", "s3"] = "local"
    """`local`: a file beside the environments, for a first try by one person. `s3`: a bucket with a lock file, for everything else."""
    bucket: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    """Bucket of the s3 backend; none: it is given at `terraform init` as `-backend-config=bucket=...`, which `make plan` does."""


class Network(Config):
    """The private network jobs, file system and databases live in."""

    cidr: str = "10.40.0.0/16"
    """Addresses of the VPC; an eighth of it per zone, so at least a /21."""
    num_zones: int = Field(default=2, ge=1, le=6)
    """Availability zones with a private subnet, out of those that offer the training instance type."""
    nat: bool = False
    """A way out to the internet, through one NAT gateway; jobs need none, the private endpoints are enough."""
    private_services: list[PrivateService] = PRIVATE_SERVICES
    """AWS services reached by an interface endpoint inside the VPC; each costs by the hour and zone."""
    endpoint_zones: int = Field(default=2, ge=1, le=6)
    """Zones the interface endpoints stand in; other zones reach them across, at the price of traffic between zones."""
    flow_log_days: int = Field(default=365, ge=1)
    """How long records of accepted and rejected connections are kept."""


class FileSystem(Config):
    """FSx for Lustre, PERSISTENT_2 on SSD."""

    size_gib: int = Field(default=1200, ge=1200)
    """Storage: 1200, 2400, then steps of 2400; with EFA a multiple of 4800 at 1000 MB/s/TiB, 9600 at 500, 19200 at 250, 38400 at 125."""
    throughput: Literal[125, 250, 500, 1000] = 125
    """Throughput per TiB of storage, MB/s."""
    efa: bool | None = None
    """Serve over EFA, which the training instance type must have on a Nitro v4 card or newer; none: where it has and the size allows it."""

    @property
    def efa_step_gib(self) -> int:
        """With EFA the size is a multiple of this (docs.aws.amazon.com/fsx/latest/LustreGuide/efa-file-systems.html)."""
        return 4_800_000 // self.throughput

    @model_validator(mode="after")
    def _size_is_a_step(self) -> Self:
        # docs.aws.amazon.com/fsx/latest/LustreGuide/increase-storage-capacity.html
        step = self.efa_step_gib if self.efa else 2400
        if self.size_gib % step and (self.efa or self.size_gib != 1200):
            below, above = self.size_gib // step * step, (self.size_gib // step + 1) * step
            near = " or ".join(str(size) for size in (below or (0 if self.efa else 1200), above) if size)
            with_efa = f" with EFA at {self.throughput} MB/s/TiB" if self.efa else ""
            raise ValueError(f"size_gib {self.size_gib} is no legal step{with_efa}: use {near}")
        return self


class Storage(Config):
    """Buckets and the file system."""

    checkpoint_days: int = Field(default=30, ge=1)
    """Checkpoints are deleted after this many days: a run that matters ends in a package."""
    capture_days: int = Field(default=90, ge=1)
    """Captured traffic holds what people wrote: deleted after this many days."""
    log_days: int = Field(default=365, ge=1)
    """Access logs and inventories are deleted after this many days."""
    noncurrent_days: int = Field(default=90, ge=1)
    """Overwritten and deleted versions stay restorable for this many days."""
    max_errors_503: int = Field(default=100, ge=1)
    """Answers of S3 with a 5xx (503 is `Slow Down`) within five minutes on one prefix that raise an alarm."""
    fsx: FileSystem | None = None
    """A Lustre file system in front of the datasets; none: jobs read S3."""


class GitHub(Config):
    """Roles that GitHub Actions takes without a stored key."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """OWNER/NAME whose workflows may take the roles."""
    provider_exists: bool = False
    """True where the account already has GitHub's identity provider: an account can have one only."""


class Tracking(Config):
    """SageMaker's managed MLflow."""

    mlflow: Literal["tracking-server", "serverless"] = "serverless"
    """A server paid by the hour, or the serverless app paid by use."""
    server_size: Literal["Small", "Medium", "Large"] = "Small"
    """Size of the tracking server; Small serves about 25 users."""


class Training(Config):
    """What a training job gets when its command does not say otherwise."""

    instance_type: str = Field(default="ml.g5.2xlarge", pattern=INSTANCE_TYPE)
    """SageMaker instance type."""
    num_instances: int = Field(default=1, ge=1)
    """Instances of one job."""
    efa: bool | None = None
    """Talk over EFA between instances; none: where the type has it and a job has more than one instance."""
    spot: bool = True
    """Use spare capacity at a discount; the job is stopped and resumed from its checkpoint."""
    warm_pool_s: int = Field(default=0, ge=0, le=3600)
    """Keep instances for the next job for this long; not together with `spot`."""
    max_runtime_s: int = Field(default=86_400, ge=60, le=2_419_200)
    """A job is stopped after this long."""
    max_wait_s: int = Field(default=172_800, ge=60)
    """Longest time for a spot job, waiting included."""

    @model_validator(mode="after")
    def _capacity_is_consistent(self) -> Self:
        if self.spot and self.warm_pool_s:
            raise ValueError(f"warm_pool_s {self.warm_pool_s} does not go with spot: SageMaker keeps no spot instances; set spot: false")
        if self.spot and self.max_wait_s < self.max_runtime_s:
            raise ValueError(f"max_wait_s {self.max_wait_s} must be at least max_runtime_s {self.max_runtime_s}")
        return self


class Preprocessing(Config):
    """The Glue job."""

    worker_type: Literal["G.1X", "G.2X", "G.4X", "G.8X"] = "G.1X"
    """Size of a Spark worker: 4, 8, 16 or 32 vCPUs."""
    num_workers: int = Field(default=10, ge=2)
    """Most workers of a run; Glue takes fewer when fewer will do."""
    timeout_min: int = Field(default=480, ge=1)
    """A run is stopped after this many minutes."""


class OpenSearch(Config):
    """OpenSearch Serverless, a vector collection."""

    standby: bool = False
    """Standby replicas in other zones; twice the price."""


class Pgvector(Config):
    """Aurora PostgreSQL Serverless v2, for pgvector."""

    min_capacity: float = Field(default=0.5, ge=0, le=256, multiple_of=0.5)
    """Least capacity units (2 GiB of memory each); 0 lets it pause."""
    max_capacity: float = Field(default=4, ge=1, le=256, multiple_of=0.5)
    """Most capacity units."""
    num_instances: int = Field(default=1, ge=1, le=15)
    """One writer, the rest readers in other zones."""
    backup_days: int = Field(default=7, ge=1, le=35)
    """Days to which the database can be taken back."""

    @model_validator(mode="after")
    def _capacity_has_room(self) -> Self:
        if self.max_capacity < self.min_capacity:
            raise ValueError(f"max_capacity {self.max_capacity} must be at least min_capacity {self.min_capacity}")
        return self


class Kendra(Config):
    """A Kendra index over the raw documents."""

    edition: Literal["DEVELOPER_EDITION", "ENTERPRISE_EDITION", "GEN_AI_ENTERPRISE_EDITION"] = "DEVELOPER_EDITION"
    """Edition; the developer's is the cheapest and still costs by the hour."""
    schedule: str = Field(default="cron(0 3 * * ? *)", pattern=r"^cron\(.+\)$")
    """When it reads the bucket again."""


class Retrieval(Config):
    """Vector stores and search, each only where wanted."""

    opensearch: OpenSearch | None = None
    """OpenSearch Serverless; none: not made."""
    pgvector: Pgvector | None = None
    """Aurora PostgreSQL with pgvector; none: not made."""
    kendra: Kendra | None = None
    """Kendra; none: not made."""


class People(Config):
    """Who labels and reviews."""

    workforce: bool = False
    """A Cognito user pool as private workforce, with one team. A region of an account has one private workforce at most."""
    a2i: bool = False
    """Amazon Augmented AI: a review flow for answers. AWS closed it to new customers; needs `workforce`."""
    reviewers_per_answer: int = Field(default=1, ge=1, le=3)
    """People who judge the same answer in the review flow."""

    @model_validator(mode="after")
    def _reviews_have_people(self) -> Self:
        if self.a2i and not self.workforce:
            raise ValueError("a2i needs people: set workforce: true")
        return self


class Monitoring(Config):
    """Dashboards, alarms, the monitor job and the budget."""

    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    """Who gets alarms and budget warnings; none: nobody is subscribed to the topic."""
    schedule: str | None = Field(default=None, pattern=r"^(cron|rate)\(.+\)$")
    """When the monitor job runs, `cron(...)` or `rate(...)` in UTC; none: on demand."""
    arguments: list[str] = Field(default=[])
    """What the job does: words after `llmops-monitor`, such as `drift` and `endpoint=s3://...`; `out=` is added."""
    image_tag: str | None = Field(default=None, pattern=IMAGE_TAG)
    """Tag of the monitor's image the job runs: the commit it was built from."""
    instance_type: str = Field(default="ml.m5.xlarge", pattern=INSTANCE_TYPE)
    """SageMaker instance type of the monitor job."""
    budget_warnings: list[int] = Field(default=[50, 80, 100], min_length=1, max_length=5)
    """Percent of `max_monthly_usd` at which the budget warns."""

    @model_validator(mode="after")
    def _schedule_has_work(self) -> Self:
        if self.schedule and not self.arguments:
            raise ValueError(f"schedule {self.schedule} has nothing to run: give arguments, for example [drift, endpoint=s3://...]")
        if self.schedule and not self.image_tag:
            raise ValueError(f"schedule {self.schedule} runs no image: name the commit it was built from in monitoring.image_tag")
        return self
