"""Settings of `llmops-monitor ab` and `llmops-monitor plan`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_monitor.config import Window
from llmops_monitor.judge_config import Prices
from llmops_shared.config import Config, JobConfig

QualityMetric = Literal["rouge_l", "exact_match", "stop_share"]
"""What can be told of one answer by itself: a preference takes two answers to one request."""


class AbConfig(JobConfig):
    """Two variants that share the live traffic; may be run at any time and as often as wanted."""

    name: str = Field(default="ab", min_length=1)
    """Name of the report, as it appears in MLflow."""
    endpoint: str = Field(min_length=1)
    """Endpoint document with production variants, or its folder; its capture is read."""
    control: str | None = Field(default=None)
    """Variant that was there before; not given: the first production variant."""
    treatment: str | None = Field(default=None)
    """Variant on trial; not given: the other one, where there are two."""
    dataset: str | None = Field(default=None)
    """Chat dataset with the reference answers, found by the `row_id` in a request's metadata."""
    splits: list[str] = Field(default=["test", "validation"], min_length=1)
    """Splits whose answers may serve as references; `train` would reward a model for what it has seen."""
    select: Window = Field(default=Window())
    """Which exchanges are compared."""
    unit: str | None = Field(default=None)
    """Metadata key of what was assigned to a variant, such as `session` or `user`; not given: each request by itself."""
    metrics: list[QualityMetric] = Field(default=["rouge_l"], min_length=1)
    """Quality metrics that decide: the treatment has to be better in each of them. All others are measured as well."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """Smallest gain worth a promotion: the whole interval of the difference must lie above it."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Chance that all intervals that decide hold, at every look together."""
    planned_units: int = Field(default=1000, ge=60)
    """Units of both variants at which the intervals are narrowest for what was seen; `llmops-monitor plan` tells it."""
    max_latency_ratio: float | None = Field(default=1.5, gt=0)
    """Guardrail: typical latency (geometric mean) as a multiple of control's; above it the treatment is rolled back. null: not
    judged, as for SageMaker's captures, which hold no latency."""
    max_error_increase: float = Field(default=0.02, ge=0, le=1)
    """Guardrail: rise of the error rate; above it the treatment is rolled back."""
    prices: dict[str, Prices] = Field(default={})
    """By variant what its tokens cost, such as `prices.production.prompt_usd=0.0002`; needed to measure cost."""
    good_at_least: float = Field(default=0.5, gt=0, le=1)
    """Value of the first of `metrics` from which an answer counts as good, for what 1,000 good answers cost (with `prices`)."""
    environment: str | None = Field(default=None, min_length=1)
    """Environment of the platform: the served answers' quality goes to CloudWatch, where its alarms look; null: it does not."""
    mismatch_alpha: float = Field(default=0.001, gt=0, lt=0.5)
    """Chance of calling a split of the traffic broken that follows the weights, over all looks."""

    @model_validator(mode="after")
    def _references_are_there(self) -> Self:
        needy = [metric for metric in self.metrics if metric in ("rouge_l", "exact_match")]
        if needy and self.dataset is None:
            raise ValueError(f"metrics {', '.join(needy)} need reference answers: give dataset=, or metrics=[stop_share]")
        return self


class PlanConfig(Config):
    """How many requests a comparison needs, before it starts."""

    design: Literal["ab", "shadow"] = Field(default="ab")
    """`ab`: each request goes to one variant, looked at at any time. `shadow`: both answer each request, looked at once."""
    min_gain: float = Field(gt=0)
    """Difference that should be found if it is there, in units of the metric, such as 0.05."""
    margin: float = Field(default=0.02, ge=0)
    """Smallest gain worth a promotion, as in `ab` and `compare`."""
    sd: float | None = Field(default=None, gt=0)
    """Standard deviation of the metric over answers (`ab`), or of the difference over pairs (`shadow`); give this or `share`."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """For a metric of 0s and 1s its present share, which tells the deviation (`ab` only)."""
    treatment_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the traffic the treatment gets (`ab`)."""
    num_metrics: int = Field(default=1, ge=1)
    """Quality metrics that decide."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
    power: float = Field(default=0.8, gt=0, lt=1)
    """Chance of finding the gain."""
    requests_per_day: float | None = Field(default=None, gt=0)
    """Traffic of the endpoint; tells how many days it takes."""

    @model_validator(mode="after")
    def _can_be_planned(self) -> Self:
        if self.min_gain <= self.margin:
            raise ValueError(f"min_gain ({self.min_gain}) must be above margin ({self.margin}): a gain at the margin is never proven")
        if (self.sd is None) == (self.share is None):
            raise ValueError("give either sd= (standard deviation of the metric) or share= (of a metric of 0s and 1s)")
        if self.design == "shadow" and self.sd is None:
            raise ValueError("design=shadow needs sd= of the difference over pairs; a share does not tell it")
        return self
