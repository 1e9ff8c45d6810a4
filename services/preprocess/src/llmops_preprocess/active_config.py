"""Settings of `llmops-preprocess labels`, `choose` and `simulate`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config
from llmops_shared.review.location import QueueConfig

StrategyName = Literal["random", "entropy", "margin", "disagreement"]


class LabelsConfig(Config):
    """Reads what people said back into rows: each row that has a label gets `label`, `label_confidence` and `label_by_people`."""

    rows: str = Field(min_length=1)
    """JSON lines that were asked about, such as a dataset's `rows/train.jsonl`."""
    out: str = Field(min_length=1)
    """File of JSON lines to write: the rows that have a label, with it in their metadata."""
    manifest: str | None = Field(default=None, min_length=1)
    """Ground Truth's output manifest."""
    attribute: str = Field(default="label", min_length=1)
    """Key of the labels in the manifest (its LabelAttributeName)."""
    queue: QueueConfig | None = Field(default=None)
    """Review queue whose answers are read."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """Labels people are less sure of are left out. Of the review queue it is the share of people who gave the label."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.manifest is None) == (self.queue is None):
            raise ValueError("labels come from manifest or from queue; give one of the two")
        return self


class ChooseConfig(Config):
    """Active learning: chooses the rows whose labels teach most, and asks people for them."""

    rows: str = Field(min_length=1)
    """JSON lines to choose from."""
    labelled: str | None = Field(default=None, min_length=1)
    """Rows whose labels are known, as `labels` writes them; null: nothing is known, and the choice is random."""
    strategy: StrategyName = Field(default="margin")
    """`entropy`, `margin`, `disagreement` of a committee with diversity, or `random`."""
    count: int = Field(default=50, ge=1)
    """Rows to choose."""
    labels: tuple[str, ...] = Field(min_length=2)
    """What may be said."""
    question: str = Field(default="Which label fits this text best?", min_length=1)
    """What people are asked."""
    queue: QueueConfig | None = Field(default=None)
    """Review queue that the chosen rows are put into."""
    out: str | None = Field(default=None, min_length=1)
    """File of JSON lines for the chosen rows, which `label rows=...` makes a Ground Truth job of."""
    seed: int = Field(default=0, ge=0)
    """Decides what is random."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if self.queue is None and self.out is None:
            raise ValueError("the chosen rows go to queue or to out; give one of the two, or both")
        if self.labelled is None and self.strategy != "random":
            raise ValueError(f"strategy {self.strategy} learns from known labels; give labelled, or begin with strategy=random")
        return self


class SimulateConfig(Config):
    """Shows what active learning would save: learning curves of strategies on rows whose labels are all known."""

    labelled: str = Field(min_length=1)
    """JSON lines with `text` and the label in `metadata.label`."""
    strategies: tuple[StrategyName, ...] = Field(default=("random", "entropy", "margin", "disagreement"), min_length=1)
    """Strategies to compare."""
    start: int = Field(default=50, ge=2)
    """Labels to begin with, chosen at random."""
    step: int = Field(default=25, ge=1)
    """Labels added in each round."""
    rounds: int = Field(default=8, ge=1)
    """Rounds."""
    seeds: int = Field(default=3, ge=1)
    """Repetitions with other random beginnings, whose mean is shown."""
    accuracy: float = Field(default=0.9, gt=0, le=1)
    """Accuracy for which the labels needed are told."""
