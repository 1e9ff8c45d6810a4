"""Settings of `llmops-monitor infrastructure`."""

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from llmops_shared.config import JobConfig


class InfrastructureConfig(JobConfig):
    """The machine side of an endpoint."""

    name: str = Field(default="infrastructure", min_length=1)
    """Name of the report, as it appears in MLflow."""
    url: str | None = Field(default=None)
    """Server whose `/metrics` is read, such as `http://127.0.0.1:8080`; give this or `endpoint_name`."""
    seconds: float = Field(default=0, ge=0, le=3600)
    """url=: time between two readings, whose difference is measured; 0 measures all since the server's start."""
    endpoint_name: str | None = Field(default=None)
    """SageMaker endpoint, read from CloudWatch Metrics Insights."""
    variants: list[str] = Field(default=["production"], min_length=1)
    """endpoint_name=: variants whose latency percentiles are read."""
    since: AwareDatetime | None = Field(default=None)
    """endpoint_name=: start; at most three hours before `until`."""
    until: AwareDatetime | None = Field(default=None)
    """endpoint_name=: end."""
    period_s: int = Field(default=60, ge=60, multiple_of=60)
    """endpoint_name=: length of a point in time."""
    past_days: int = Field(default=0, ge=0, le=63)
    """endpoint_name=: days before `until` whose points, five minutes apart, the newest are held against for alarms; 28 are best,
    0 raises none."""

    @model_validator(mode="after")
    def _one_source_is_named(self) -> Self:
        if (self.url is None) == (self.endpoint_name is None):
            raise ValueError("give either url= (a server's /metrics) or endpoint_name= (CloudWatch)")
        if self.endpoint_name is not None and (self.since is None or self.until is None or self.since >= self.until):
            raise ValueError("endpoint_name= needs since= before until=")
        return self
