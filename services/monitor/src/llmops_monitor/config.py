"""Settings of `llmops-monitor compare` and `llmops-monitor drift`."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from llmops_monitor.judge_config import JudgeConfig, Prices
from llmops_shared.config import Config, JobConfig

QualityMetric = Literal["rouge_l", "exact_match", "stop_share", "judge_preference"]


class Window(Config):
    """Which exchanges of the log are looked at; every condition given must hold."""

    since: AwareDatetime | None = Field(default=None)
    """Requests that arrived at this time or later, such as `2026-11-23T10:00:00Z`."""
    until: AwareDatetime | None = Field(default=None)
    """Requests that arrived before this time, so that windows in a row share none."""
    metadata: dict[str, str] = Field(default={})
    """Requests whose metadata has these values, such as `select.metadata.window=in_domain`."""
    half: Literal["first", "second"] | None = Field(default=None)
    """One of two halves, drawn by a hash of the request id: holds a window against itself."""

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since ({self.since.isoformat()}) must be before until ({self.until.isoformat()})")
        return self


class TrafficWindow(Window):
    """A window of one variant's traffic."""

    variant: str | None = Field(default=None)
    """Variant that answered, a shadow too; not given: all variants whose answers went to clients."""


class CompareConfig(JobConfig):
    """Shadow against production."""

    name: str = Field(default="shadow", min_length=1)
    """Name of the report, as it appears in MLflow."""
    endpoint: str = Field(min_length=1)
    """Endpoint document with a shadow variant, or its folder; its capture is read."""
    experiment: str | None = Field(default=None, min_length=1)
    """SageMaker shadow test (inference experiment) of this endpoint, whose stored answers are read in place of the capture."""
    dataset: str | None = Field(default=None)
    """Chat dataset with the reference answers, found by the `row_id` in a request's metadata."""
    splits: list[str] = Field(default=["test", "validation"], min_length=1)
    """Splits whose answers may serve as references; `train` would reward a model for what it has seen."""
    select: Window = Field(default=Window())
    """Which exchanges are compared."""
    metrics: list[QualityMetric] = Field(default=["rouge_l"], min_length=1)
    """Quality metrics that decide: the shadow has to be better in each of them. All others are measured as well."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """Smallest gain worth a promotion: the whole interval of the difference must lie above it."""
    min_pairs: int = Field(default=50, ge=2)
    """With fewer pairs of different prompts the verdict is not_enough_data."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
    max_latency_ratio: float | None = Field(default=1.5, gt=0)
    """Guardrail: shadow latency as a multiple of production's; the upper end of its interval must not lie above. null: not judged,
    as for SageMaker's captures, which hold no latency."""
    max_error_increase: float = Field(default=0.02, ge=0, le=1)
    """Guardrail: rise of the error rate; the upper end of its interval must not lie above. 0.02 takes about 100 pairs without an error."""
    max_cost_ratio: float | None = Field(default=None, gt=0)
    """Guardrail: cost of an answer as a multiple of production's; needs `prices` of both variants. null: measured, not judged."""
    judge: JudgeConfig | None = Field(default=None)
    """Model that is asked which of two answers is better, for the metric judge_preference; null: none is asked."""
    prices: dict[str, Prices] = Field(default={})
    """By variant what its tokens cost, such as `prices.production.prompt_usd=0.0002`; needed to measure cost."""
    good_at_least: float = Field(default=0.5, gt=0, le=1)
    """Value of the first of `metrics` from which an answer counts as good, for what 1,000 good answers cost (with `prices`)."""
    environment: str | None = Field(default=None, min_length=1)
    """Environment of the platform: the served answers' quality goes to CloudWatch, where its alarms look; null: it does not."""
    seed: int = Field(default=0)
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _references_are_there(self) -> Self:
        needy = [metric for metric in self.metrics if metric in ("rouge_l", "exact_match")]
        if needy and self.dataset is None:
            raise ValueError(f"metrics {', '.join(needy)} need reference answers: give dataset=, or metrics=[stop_share]")
        if "judge_preference" in self.metrics and self.judge is None:
            raise ValueError("metric judge_preference needs a judge: give judge.url= and judge.model=")
        if self.max_cost_ratio is not None and len(self.prices) < 2:
            raise ValueError("max_cost_ratio needs prices of both variants, such as prices.production.prompt_usd=0.0002")
        return self


class DriftConfig(JobConfig):
    """One window of traffic against another."""

    name: str = Field(default="drift", min_length=1)
    """Name of the report, as it appears in MLflow."""
    endpoint: str | None = Field(default=None)
    """Endpoint document, or its folder, whose capture is read; give this or `exchanges`."""
    exchanges: str | None = Field(default=None)
    """Folder of exchange logs; give this or `endpoint`."""
    reference: TrafficWindow = Field(default=TrafficWindow())
    """The traffic that is known to be good."""
    profile: str | None = Field(default=None)
    """Reference profile that `llmops-monitor profile` saved; it takes the place of `reference`, and all that was profiled is tested."""
    current: TrafficWindow = Field(default=TrafficWindow())
    """The traffic in question."""
    text: Literal["prompt", "response"] = Field(default="prompt")
    """What is described: the last user message of a request, or the answer."""
    alpha: float = Field(default=0.005, gt=0, lt=0.5)
    """Chance of a false alarm, over all tests together."""
    min_rows: int = Field(default=50, ge=10)
    """With fewer different prompts in a window the verdict is not_enough_data."""
    min_shift: float = Field(default=0.2, ge=0)
    """Smallest change that counts, as the shift of a normal distribution in standard deviations; large windows find smaller ones."""
    evidently: bool = Field(default=True)
    """Whether Evidently's report is written beside ours."""
    evidently_texts: bool = Field(default=False)
    """Whether that report has Evidently's own drift of the texts, masked, and of their embeddings: half a minute more."""
    seed: int = Field(default=0)
    """Seed of the permutations."""

    @model_validator(mode="after")
    def _one_log_is_named(self) -> Self:
        if (self.endpoint is None) == (self.exchanges is None):
            raise ValueError("give either endpoint= (its capture is read) or exchanges= (a folder of exchange logs)")
        if self.evidently_texts and (self.profile is not None or not self.evidently):
            raise ValueError("evidently_texts=true needs evidently=true and texts in both windows; a saved profile holds none")
        if self.profile is not None and self.reference != TrafficWindow():
            raise ValueError("give either profile= (a saved reference) or reference.* (a window of this log), not both")
        return self
