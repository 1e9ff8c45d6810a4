"""Settings of `llmops-monitor retrieval`."""

from typing import Self

from pydantic import Field, model_validator

from llmops_monitor.config import TrafficWindow
from llmops_shared.config import JobConfig


class RetrievalConfig(JobConfig):
    """An index, and what it found for a window of traffic."""

    name: str = Field(default="retrieval", min_length=1)
    """Name of the report, as it appears in MLflow."""
    index: str = Field(min_length=1)
    """RetrievalIndex document, or its folder."""
    endpoint: str | None = Field(default=None)
    """Endpoint document, or its folder, whose capture is read; give this or `exchanges`, or neither and only the index is measured."""
    exchanges: str | None = Field(default=None)
    """Folder of exchange logs."""
    reference: TrafficWindow = Field(default=TrafficWindow())
    """Traffic whose questions are known to be good."""
    current: TrafficWindow = Field(default=TrafficWindow())
    """Traffic in question; its retrieval traces are measured."""
    probes: str | None = Field(default=None)
    """Frozen probe set: JSON lines with `question` and `document_id`, for recall and mean reciprocal rank."""
    num_chunks: int = Field(default=5, ge=1)
    """k of recall@k."""
    min_score: float = Field(default=0.3, ge=-1, le=1)
    """A question whose best chunk scores less was not hit."""
    dataset: str | None = Field(default=None)
    """Text dataset as it is now: chunks whose text is no longer in their document are stale."""
    alpha: float = Field(default=0.005, gt=0, lt=0.5)
    """Chance of a false alarm, over all tests together."""
    min_rows: int = Field(default=50, ge=10)
    """With fewer different questions in a window the verdict is not_enough_data."""
    min_shift: float = Field(default=0.2, ge=0)
    """Smallest change that counts, as the shift of a normal distribution in standard deviations."""
    seed: int = Field(default=0)
    """Seed of the permutations."""

    @model_validator(mode="after")
    def _one_log_at_most(self) -> Self:
        if self.endpoint is not None and self.exchanges is not None:
            raise ValueError("give either endpoint= (its capture is read) or exchanges= (a folder of exchange logs), or neither")
        return self

    @property
    def has_traffic(self) -> bool:
        """Whether a log is read."""
        return self.endpoint is not None or self.exchanges is not None
