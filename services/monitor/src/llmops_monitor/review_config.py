"""Settings of the verbs around people: `sample`, `review`, `labels`."""

from pydantic import Field

from llmops_monitor.config import Window
from llmops_shared.config import Config, JobConfig
from llmops_shared.review.location import QueueConfig


class ReviewConfig(Config):
    """One web page, by keyboard alone."""

    queue: str = Field(min_length=1)
    """Review queue: the SQLite file that `llmops-monitor sample` or an evaluation filled."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; any other than loopback needs a strong key in LLMOPS_REVIEW_KEY, and TLS in front."""
    port: int = Field(default=8090, ge=1, le=65_535)
    """Port to listen on."""
    answers_per_item: int = Field(default=2, ge=1)
    """Once so many people answered an item it is offered to no other; two are what agreement takes."""


class SampleConfig(Config):
    """Which exchanges people look at."""

    queue: QueueConfig
    """Review queue to add to; a SQLite file is made where there is none."""
    endpoint: str = Field(min_length=1)
    """Endpoint document, or its folder, whose capture is read."""
    report: str | None = Field(default=None, min_length=1)
    """Report of `compare` about this endpoint: its scores tell close calls and low ones."""
    metric: str = Field(default="rouge_l", min_length=1)
    """Metric of the report's rows; `judge_preference` where a judge was asked."""
    max_score: float = Field(default=0.3)
    """An answer that scores at most this is an alarm."""
    rules: bool = Field(default=True)
    """Whether an exchange that a rule flags (attack, refusal, toxic, leak) is an alarm."""
    alarm: Window | None = Field(default=None)
    """The window that raised an alarm; people see some of its exchanges."""
    select: Window = Field(default=Window())
    """Which exchanges the random share is drawn from."""
    num_uncertain: int = Field(default=20, ge=0)
    """Close calls: pairs whose scores differ least."""
    num_alarm: int = Field(default=20, ge=0)
    """Exchanges of the alarm window, low scores, and what a rule flags."""
    num_random: int = Field(default=10, ge=0)
    """Drawn without looking: the only part from which a rate over all traffic may be told."""
    dataset: str | None = Field(default=None, min_length=1)
    """Chat dataset with reference answers, shown beside."""
    splits: list[str] = Field(default=["test", "validation"], min_length=1)
    """Splits whose answers are shown."""
    mask: bool = Field(default=True)
    """Whether personal data is masked before people see it."""
    seed: int = Field(default=0)
    """Seed of what is drawn."""


class LabelsConfig(JobConfig):
    """What people said, for training and for the judge."""

    name: str = Field(default="labels", min_length=1)
    """Name of the report, as it appears in MLflow."""
    queue: QueueConfig
    """Review queue that was answered."""
    licence: str = Field(default="unknown", min_length=1)
    """Licence of the rows."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
