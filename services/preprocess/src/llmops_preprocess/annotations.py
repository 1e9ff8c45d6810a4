"""What a detector says about a stretch of text: the one shape of Comprehend's answers and of the laptop's rules."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Annotation:
    """A typed stretch of a text, or of all of it. It holds no text, so that logs and reports of it hold no personal data."""

    type: str
    """What was found, in Comprehend's names: `EMAIL`, `PHONE`, `IP_ADDRESS`, `NAME`, `PERSON`, `LANGUAGE:en`, `CLASS:spam`, ..."""
    begin: int
    """First character, an offset into the text as Python counts characters."""
    end: int
    """First character after it; of a statement about the whole text, its length."""
    score: float
    """How sure the detector is, 0 to 1; 1 for a rule with a checksum."""
    source: str
    """Who says so: `rules`, `py3langid`, `comprehend`, ..."""

    def __post_init__(self) -> None:
        if not (0 <= self.begin <= self.end and 0 <= self.score <= 1):
            raise ValueError(f"no annotation: {self.type} from {self.begin} to {self.end} with score {self.score}")


def non_overlapping(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The surest ones of those that overlap, the longer of equally sure ones, in order of the text: what masking takes."""
    kept: list[Annotation] = []
    for found in sorted(annotations, key=lambda item: (-item.score, item.begin - item.end, item.begin, item.type)):
        if all(found.end <= other.begin or other.end <= found.begin for other in kept):
            kept.append(found)
    return sorted(kept, key=lambda item: item.begin)
