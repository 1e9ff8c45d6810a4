"""Contamination: how many judged rows stand in what the model was trained on, by common runs of words (Brown et al. 2020, appendix C)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow
from llmops_train.evaluation.questions import Row, read_rows

WORD = re.compile(r"\w+")
RUN_WORDS = 13
"""Words in a row that two texts must share; a shorter row counts when all of it stands in one training row."""


class Overlap(NamedTuple):
    """How much of a benchmark or split is known from training."""

    num_rows: int
    num_found: int
    rows: list[str]
    """Ids of the rows that were found."""

    def __str__(self) -> str:
        return f"{self.num_found} of {self.num_rows} rows ({self.num_found / max(self.num_rows, 1):.1%})"


def overlaps(judged: Mapping[str, Sequence[tuple[str, str]]], training: Iterable[str]) -> dict[str, Overlap]:
    """For each set of (row id, text), which rows share a run of words with a training text. Training is read once, a text at a time."""
    wanted: dict[int, set[tuple[str, ...]]] = {}
    runs: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for name, rows in judged.items():
        for row_id, text in rows:
            found = runs_of(words(text))
            runs[name, row_id] = found
            for run in found:
                wanted.setdefault(len(run), set()).add(run)
    seen: set[tuple[str, ...]] = set()
    for text in training:
        tokens = words(text)
        for length, known in wanted.items():
            seen.update(known.intersection(zip(*(tokens[start:] for start in range(length)), strict=False)))
    return {
        name: Overlap(len(rows), len(hits), hits)
        for name, rows in judged.items()
        for hits in [[row_id for row_id, _ in rows if runs[name, row_id] & seen]]
    }


def words(text: str) -> list[str]:
    """Lower-case words."""
    return WORD.findall(text.lower())


def runs_of(tokens: list[str]) -> set[tuple[str, ...]]:
    """All runs of RUN_WORDS words, or the whole of a shorter text."""
    if not tokens:
        return set()
    length = min(RUN_WORDS, len(tokens))
    return set(zip(*(tokens[start:] for start in range(length)), strict=False))


def training_texts(place: str, manifest: DatasetManifest) -> Iterable[str]:
    """The text of every training row. Raises LlmopsError when there is no train split."""
    if "train" not in manifest.splits or not manifest.splits["train"].num_rows:
        raise LlmopsError(f"trained_on {place}: has no train split, so nothing was learnt from it; name the dataset the model learnt")
    return (text_of(row) for row in read_rows(place, manifest, "train"))


def text_of(row: Row) -> str:
    """All words of a row."""
    return "\n".join(message.content for message in row.messages) if isinstance(row, ChatRow) else row.text
