"""Predictions beside their references, checked before anything is measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmops_shared.errors import LlmopsError


@dataclass(frozen=True)
class Pairs:
    """Texts to compare, a row each."""

    row_ids: Sequence[str]
    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    """One or more references a row."""

    def single(self) -> bool:
        """Whether every row has exactly one reference."""
        return all(len(references) == 1 for references in self.references)


def make_pairs(predictions: Sequence[object], references: Sequence[object], row_ids: Sequence[str] | None = None) -> Pairs:
    """Pairs of texts; a reference is a text or a list of texts.

    Raises LlmopsError that names the row for unequal lengths, a prediction or reference that is no text (None, NaN, a
    number), a row without reference and a reference without a word.
    """
    if len(predictions) != len(references):
        raise LlmopsError(
            f"{len(predictions)} predictions, but {len(references)} references: row {min(len(predictions), len(references)) + 1} "
            f"has only one of the two; give one reference (or list of references) a prediction"
        )
    names = [str(number) for number in range(1, len(predictions) + 1)] if row_ids is None else list(row_ids)
    if len(names) != len(predictions):
        raise LlmopsError(f"{len(predictions)} predictions, but {len(names)} row ids; give one id a row")
    texts = [one if isinstance(one, str) else check_text(one, name, "prediction") for one, name in zip(predictions, names, strict=True)]
    lists = [check_references(reference, name) for reference, name in zip(references, names, strict=True)]
    return Pairs(names, texts, lists)


def check_references(value: object, row: str) -> list[str]:
    """The references of a row."""
    if isinstance(value, str) and not value.isspace() and value:
        return [value]
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise LlmopsError(f"row {row}: has no reference; give one, or leave the row out")
    references = [check_text(one, row, "reference") for one in values]
    if not all(reference.strip() for reference in references):
        raise LlmopsError(f"row {row}: its reference is empty, so no answer could match it; give one, or leave the row out")
    return references


def check_text(value: object, row: str, what: str) -> str:
    """The value, if it is a text."""
    if isinstance(value, str):
        return value
    shown = "NaN" if isinstance(value, float) and math.isnan(value) else repr(value)
    raise LlmopsError(f"row {row}: its {what} is no text ({shown[:40]}); correct the row, or leave it out")
