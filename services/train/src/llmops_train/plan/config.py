"""Settings of `llmops-train plan`: those of a run, and what it may cost."""

from typing import Self

from pydantic import Field, model_validator

from llmops_shared.config import Config
from llmops_train.config import TrainConfig


class PlanSettings(Config):
    """Where the run could go, and its bounds."""

    instance_types: list[str] = Field(default=[])
    """SageMaker instance types to look at; none: that of `launch`, else this machine and every type with GPUs and a price."""
    num_instances: int | None = Field(default=None, ge=1)
    """Instances; none: those of `launch`, or 1."""
    max_usd: float | None = Field(default=None, gt=0)
    """Dearer is refused: exit code 3."""
    max_hours: float | None = Field(default=None, gt=0)
    """Longer is refused: exit code 3."""
    utilization: float = Field(default=0.4, gt=0, le=1)
    """Share of the peak rate of its processors that training is expected to reach."""
    target_share: float = Field(default=1.0, gt=0, le=1)
    """Share of a chat dataset's tokens that belong to answers, for the size of the logits; 1 is the upper bound."""
    region: str = Field(default="us-east-1", min_length=1)
    """AWS region, for prices and quotas."""
    zones: list[str] = Field(default=[])
    """Availability zones of the job's subnets; none: with `account` every zone of the region."""
    account: bool = Field(default=False)
    """Asks AWS with your credentials: Service Quotas for the type's limit, EC2 for the zones that have it. Costs nothing."""


class PlanConfig(TrainConfig):
    """Settings of `llmops-train plan`."""

    out: str = Field(default="build/plan", min_length=1)
    """Folder of the run that is planned; nothing is written there."""
    plan: PlanSettings = Field(default=PlanSettings())
    """Bounds."""

    @model_validator(mode="after")
    def check_types(self) -> Self:
        wrong = [name for name in self.plan.instance_types if not name.startswith("ml.")]
        if wrong:
            raise ValueError(f"plan.instance_types: {', '.join(wrong)}: SageMaker's types start with `ml.`")
        return self
