"""ReviewItem and ReviewAnswer: what a person is asked about answers of a model, and what the person said."""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from llmops_shared.contracts.document import Value
from llmops_shared.contracts.exchange import Message

TIE = "tie"
"""The label of two answers that are equally good."""


class Candidate(Value):
    """An answer a person judges."""

    name: str = Field(min_length=1)
    """Who gave it (`production`, `shadow`, a run's name); never shown to the person."""
    response: str
    """The whole answer."""


class ReviewItem(Value):
    """One question to people: which of two answers is better, or which label fits one answer."""

    schema_version: Literal[1] = 1
    """Version of this record's shape."""
    item_id: str = Field(min_length=1)
    """Digest of what is asked and shown, so that the same question is never queued twice."""
    kind: Literal["side_by_side", "label"]
    """`side_by_side`: two candidates, one is chosen. `label`: one candidate gets a label."""
    question: str = Field(min_length=1)
    """What is asked, in words."""
    messages: list[Message] = Field(min_length=1)
    """The conversation that was answered."""
    candidates: list[Candidate] = Field(min_length=1, max_length=2)
    """Two answers for `side_by_side`, one for `label`."""
    labels: list[str] = Field(min_length=2)
    """What may be said; for `side_by_side` the names of the candidates and `tie`."""
    reference: str | None = None
    """An answer known to be right, shown beside; None where there is none."""
    judge_label: str | None = None
    """What a model said to the same question, not shown: agreement with people calibrates it. None where none was asked."""
    sampled: Literal["uncertainty", "alarm", "random", "all"]
    """Why it is here: a close call, a window that raised an alarm, a random share (the only unbiased one), or everything."""
    metadata: dict[str, str] = Field(default={})
    """Where it comes from: `request_id`, `row_id`, `endpoint`, `run`, ..."""

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ, got {self.labels}")
        if len(names) != (2 if self.kind == "side_by_side" else 1):
            raise ValueError(f"kind {self.kind} takes {2 if self.kind == 'side_by_side' else 1} candidates, got {names}")
        if self.kind == "side_by_side" and self.labels != [*names, TIE]:
            raise ValueError(f"labels of side_by_side must be the candidates and {TIE}: {[*names, TIE]}, got {self.labels}")
        if self.judge_label is not None and self.judge_label not in self.labels:
            raise ValueError(f"judge_label {self.judge_label!r} is none of {self.labels}")
        return self


class ReviewAnswer(Value):
    """What one person said to one item; a later answer of the same person replaces it."""

    schema_version: Literal[1] = 1
    """Version of this record's shape."""
    item_id: str = Field(min_length=1)
    """The item."""
    reviewer: str = Field(min_length=1, max_length=120)
    """Who answered: a name, or a worker id of Ground Truth."""
    label: str = Field(min_length=1)
    """One of the item's labels; for `side_by_side` the name of the better candidate, whatever place it was shown in."""
    time: AwareDatetime
    """When, UTC."""
    first_shown: str | None = None
    """The candidate that was shown first: tells whether people prefer a place. None where the order is not known."""
    correction: str | None = None
    """A better answer, written by the person."""
    duration_s: float | None = Field(default=None, ge=0)
    """Time from seeing the item to answering it; None where it was not measured."""
