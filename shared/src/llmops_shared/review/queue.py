"""The review queue port: a SQLite file people answer on a page, Ground Truth jobs, or A2I human loops."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from llmops_shared.contracts.review import ReviewAnswer, ReviewItem


class Reviewed(NamedTuple):
    """An item and what people said, in order of time."""

    item: ReviewItem
    answers: list[ReviewAnswer]


class ReviewQueue(Protocol):
    """Where items wait for people. Nothing is opened or sent before a method is called."""

    def add(self, items: Sequence[ReviewItem]) -> int:
        """Queues items and returns how many are new; those already known are left alone."""

    def requests(self, items: Sequence[ReviewItem]) -> list[dict[str, Any]]:
        """What `add` would send to AWS, by operation; nothing where nobody is asked."""

    def pending(self, reviewer: str | None = None, limit: int | None = None) -> list[ReviewItem]:
        """Items that wait, in the order they were added: for a reviewer those this person has not answered, else those nobody has."""

    def reviewed(self) -> list[Reviewed]:
        """Every item that has an answer."""
