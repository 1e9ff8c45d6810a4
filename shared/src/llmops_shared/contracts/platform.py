"""Platform: what Terraform made for an environment, as `terraform output -json` of the platform stack says it."""

import json
from typing import ClassVar, Literal, Self

from pydantic import Field

from llmops_shared.contracts.document import Contract, Value

METRICS_NAMESPACE = "LLMOps"
"""CloudWatch namespace of what our own services publish: figures of traffic by EndpointName, and the one that rolls back."""

ANSWER_QUALITY = "AnswerQuality"
"""How good answers are, 0 to 1, with the dimensions Environment and Endpoint; the endpoint's alarm on it rolls a deployment back."""

DRIFT_EVENT_SOURCE = "llmops.monitor"
"""Source of the event that a drift report sends to EventBridge's default bus."""
DRIFT_EVENT_TYPE = "Drift Report"
"""Its detail type; the detail has `environment` and `verdict`."""
ACTION_VERDICTS = ("drift", "rollback", "alarm")
"""Verdicts of monitor that ask for something to be done; the platform's rule acts on these."""


class FileSystem(Value):
    """FSx for Lustre with the datasets."""

    id: str
    """Id of the file system."""
    mount_name: str
    """Name it is mounted by."""
    datasets_path: str
    """Folder on it that shows the datasets."""


class Training(Value):
    """What a training job gets when its command does not say otherwise."""

    instance_type: str
    """SageMaker instance type."""
    num_instances: int = Field(ge=1)
    """Instances of one job."""
    efa: bool
    """Whether instances talk over EFA."""
    spot: bool
    """Whether it runs on spare capacity."""
    warm_pool_s: int = Field(ge=0)
    """Seconds instances are kept for the next job."""
    max_runtime_s: int = Field(ge=1)
    """Seconds after which a job is stopped."""
    max_wait_s: int = Field(ge=1)
    """Seconds after which a spot job is given up, waiting included."""


class Platform(Contract):
    """Everything a command on AWS has to know about its environment."""

    file_name: ClassVar[str] = "platform.json"

    kind: Literal["platform"] = "platform"
    """What this document is."""
    environment: str
    """Name of the environment."""
    region: str
    """AWS region."""
    vpc_id: str
    """The private network."""
    subnet_ids: list[str] = Field(min_length=1)
    """Private subnets, one a zone; the file system is in the first."""
    job_security_group_ids: list[str] = Field(min_length=1)
    """Security groups of jobs and endpoints."""
    placement_group: str
    """Cluster placement group for instances outside SageMaker, which places its own."""
    raw_uri: str
    """Raw documents."""
    labels_uri: str
    """What people labelled."""
    datasets_uri: str
    """Datasets."""
    indexes_uri: str
    """Retrieval indexes."""
    checkpoints_uri: str
    """Checkpoints of training jobs."""
    runs_uri: str
    """Training runs."""
    packages_uri: str
    """Model packages."""
    endpoints_uri: str
    """Endpoint documents."""
    code_uri: str
    """Scripts and wheels that jobs load."""
    exchanges_uri: str
    """Captured traffic."""
    reports_uri: str
    """Reports."""
    key_arns: dict[str, str]
    """KMS key by class of data: `raw`, `datasets`, `checkpoints`, `models`, `captures`, `operations`."""
    role_arns: dict[str, str]
    """IAM role by what takes it: each service, `pipeline`, `glue`, `labeling`."""
    repository_urls: dict[str, str]
    """Image repository by service."""
    tracking_uri: str
    """MLFLOW_TRACKING_URI: the ARN of the managed MLflow."""
    model_package_group: str
    """Group that model packages are registered in."""
    glue_job: str
    """The preprocessing job."""
    training: Training
    """Defaults of training jobs."""
    alarm_topic_arn: str
    """SNS topic of every alarm."""
    file_system: FileSystem | None = None
    """FSx for Lustre; None: jobs read S3."""
    pipeline: str | None = None
    """SageMaker pipeline; None: not made."""
    opensearch_endpoint: str | None = None
    """HTTPS endpoint of the vector collection; None: not made."""
    pgvector_host: str | None = None
    """Host of Aurora PostgreSQL, port 5432, database `retrieval`, IAM authentication; None: not made."""
    kendra_index_id: str | None = None
    """Kendra index; None: not made."""
    workteam_arn: str | None = None
    """Team that labels and reviews; None: not made."""
    flow_definition_arn: str | None = None
    """Augmented AI's review flow; None: not made."""
    github_role_arns: dict[str, str] | None = None
    """Roles of GitHub Actions, `deploy` and `plan`; None: not made."""

    @classmethod
    def from_outputs(cls, content: bytes | str) -> Self:
        """Reads what `terraform output -json` printed. Terraform leaves out what is null.

        Raises pydantic.ValidationError when a field is missing or unknown, ValueError when it is no such JSON.
        """
        outputs = json.loads(content)
        if not isinstance(outputs, dict) or not all(isinstance(item, dict) and "value" in item for item in outputs.values()):
            raise ValueError("not what `terraform output -json` prints: each name needs an object with its value")
        return cls.model_validate({name: item["value"] for name, item in outputs.items()})
