"""Settings of `llmops-monitor remediate`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_monitor.config import QualityMetric
from llmops_shared.config import JobConfig
from llmops_shared.review.location import QueueConfig


class RemediateConfig(JobConfig):
    """From a report to what to do about it."""

    name: str = Field(default="remedy", min_length=1)
    """Name of the remediation and of the dataset and run it asks for."""
    report: str = Field(min_length=1)
    """Report of drift, compare or ab, or its folder; may be given as a bare word."""
    table: str | None = Field(default=None, min_length=1)
    """YAML table from signal to remedy; not given: the one shipped with the service, which is a good start for one's own."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """A drift report's signals count when their corrected p-value is below."""
    retrain: Literal["auto", "always", "never"] = Field(default="auto")
    """Whether the retraining set is built: `auto` when the table says retrain for a signal."""
    review: QueueConfig | None = Field(default=None)
    """Review queue whose answers become rows."""
    exchanges: str | None = Field(default=None, min_length=1)
    """Folder of the exchange log; not given: that of the report's endpoint, where it names one."""
    metric: QualityMetric = Field(default="rouge_l")
    """Metric of the report's rows by which an answer scores low."""
    max_score: float = Field(default=0.3)
    """Answers that score at most this are low; the shadow's better answer becomes the row."""
    evaluation: str | None = Field(default=None, min_length=1)
    """Dataset the next model will be judged on; rows that repeat its held-out text are dropped. Not given: the report's dataset."""
    licence: str = Field(default="unknown", min_length=1)
    """Licence of the rows."""
    model: str | None = Field(default=None, min_length=1)
    """Model the adapter is tuned on, for the next config: a TrainingRun, directory or Hugging Face id."""
    tokenizer: str | None = Field(default=None, min_length=1)
    """Tokenizer of that model, for the next config; not given: the evaluation dataset's."""
    start: Literal["print", "eventbridge", "github"] = Field(default="print")
    """How the pipeline starts: `print` its commands, an event to EventBridge, or a repository_dispatch to GitHub (GITHUB_TOKEN)."""
    environment: str | None = Field(default=None, min_length=1)
    """Environment of the platform, for `start=eventbridge`."""
    event_bus: str = Field(default="default", min_length=1)
    """Event bus of the platform's rule."""
    repository: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """`owner/name`, for `start=github`."""

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if self.start == "eventbridge" and self.environment is None:
            raise ValueError("start=eventbridge needs environment=, which the platform's rule looks at")
        if self.start == "github" and self.repository is None:
            raise ValueError("start=github needs repository=owner/name")
        return self
