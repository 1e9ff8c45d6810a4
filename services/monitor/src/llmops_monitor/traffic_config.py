"""Settings of the verbs that read traffic: `describe`, `profile`, `collect`, `history`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_monitor.config import TrafficWindow
from llmops_shared.config import Config, JobConfig

Scorer = Literal["rules", "model", "endpoint", "bedrock"]


class PriceConfig(Config):
    """What tokens cost."""

    prompt_usd: float | None = Field(default=None, ge=0)
    """US dollars for 1,000 tokens of prompt; give both prices, or neither and no cost is measured."""
    response_usd: float | None = Field(default=None, ge=0)
    """US dollars for 1,000 tokens of answer."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.prompt_usd is None) != (self.response_usd is None):
            raise ValueError("give both price.prompt_usd and price.response_usd, or neither")
        return self


class TrafficConfig(JobConfig):
    """A job on logged traffic."""

    endpoint: str | None = Field(default=None)
    """Endpoint document, or its folder, whose capture is read; give this or `exchanges`."""
    exchanges: str | None = Field(default=None)
    """Folder of exchange logs, or of SageMaker's data capture, local or `s3://`; give this or `endpoint`."""
    index: str | None = Field(default=None)
    """RetrievalIndex whose chunks were put before the questions; without it what needs their text is not measured."""
    price: PriceConfig = Field(default=PriceConfig())
    """For the cost of an answer."""

    @model_validator(mode="after")
    def _one_log_is_named(self) -> Self:
        if (self.endpoint is None) == (self.exchanges is None):
            raise ValueError("give either endpoint= (its capture is read) or exchanges= (a folder of exchange logs)")
        return self


class DescribeConfig(TrafficConfig):
    """Every descriptor of every exchange of a window."""

    name: str = Field(default="descriptors", min_length=1)
    """Name of the report, as it appears in MLflow."""
    select: TrafficWindow = Field(default=TrafficWindow())
    """Which exchanges are described."""
    scorer: Scorer = Field(default="rules")
    """What judges toxicity, sentiment, refusals, attacks, relevance and groundedness: `rules` need nothing, `model` runs local models,
    `endpoint` asks an OpenAI-compatible server, `bedrock` a model of Amazon Bedrock. All else stays with the rules."""
    judge: str | None = Field(default=None)
    """scorer=endpoint: URL of the server, such as `http://127.0.0.1:8080/v1`; scorer=bedrock: model id; scorer=model: a
    directory of sentence-transformers for relevance and groundedness, one of a classifier with the label `entailment` (cross-encoder/nli-*,
    *-mnli) for groundedness, or both with a comma between them."""
    judge_model: str = Field(default="production", min_length=1)
    """scorer=endpoint: name of the model on the server."""
    max_judged: int = Field(default=500, ge=1)
    """Exchanges a judge is asked about, drawn by a hash of the request id: models cost money."""
    cloudwatch: bool = Field(default=False)
    """Whether the figures are put to CloudWatch, namespace `LLMOps`, dimension `EndpointName`."""

    @model_validator(mode="after")
    def _judge_is_named(self) -> Self:
        if self.scorer != "rules" and self.judge is None:
            raise ValueError(f"scorer={self.scorer} needs judge= (a URL, a Bedrock model id, or a model directory)")
        return self


class ProfileConfig(TrafficConfig):
    """The reference that later windows are held against."""

    name: str = Field(default="baseline", min_length=1)
    """Name of the profile."""
    select: TrafficWindow = Field(default=TrafficWindow())
    """The traffic that is known to be good."""


class CollectConfig(TrafficConfig):
    """New records of a log, added to the profiles of their time windows."""

    window: Literal["hour", "day"] = Field(default="hour")
    """Length of a window, in UTC: a day has 24 hours there also when clocks change."""
    lateness_minutes: int = Field(default=60, ge=0)
    """How long a window is kept open after its end; a record that comes later goes into the oldest open window, and is counted as late."""
    variant: str | None = Field(default=None)
    """Variant that answered, a shadow too; not given: all variants whose answers went to clients."""


class HistoryConfig(JobConfig):
    """Trends over the windows that `collect` wrote."""

    name: str = Field(default="history", min_length=1)
    """Name of the report, as it appears in MLflow."""
    windows: str = Field(min_length=1)
    """Folder that `collect` wrote to."""
    profile: str | None = Field(default=None)
    """Reference profile: each window is tested against it as well."""
    min_rows: int = Field(default=50, ge=10)
    """Windows with fewer rows are drawn, and not tested."""
    endpoint_name: str = Field(default="all", min_length=1)
    """Dimension `EndpointName` of the CloudWatch metrics."""
    cloudwatch: bool = Field(default=False)
    """Whether the figures of the last window are put to CloudWatch, namespace `LLMOps`."""
