"""Predictions in a file: JSON lines, each with its reference or its relevant documents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for
from llmops_train.evaluation.config import RANKING, EvaluateConfig
from llmops_train.evaluation.measures import measurement
from llmops_train.metrics.pairs import Pairs, make_pairs
from llmops_train.metrics.ranking import ranking

if TYPE_CHECKING:
    from llmops_train.evaluation.findings import Findings


@dataclass(frozen=True)
class Predictions:
    """The rows of the file, checked."""

    row_ids: list[str]
    prompts: list[str]
    pairs: Pairs | None
    """Texts; None for rankings."""
    retrieved: list[list[str]]
    relevant: list[dict[str, float]]

    def add_ranking(self, findings: "Findings", names: Sequence[str], config: EvaluateConfig) -> None:
        """Adds the retrieval measures asked for."""
        wanted = [name for name in names if name in RANKING]
        if wanted and self.pairs is not None:
            raise LlmopsError(f"{', '.join(wanted)}: the rows have no `retrieved` and `relevant`; give these, or leave it out of measures")
        for name in wanted:
            scores = ranking(name, self.row_ids, self.retrieved, self.relevant, config.k)
            findings.scores.append(scores)
            findings.measurements.append(measurement(scores, config.seed))


def read_predictions(uri: str) -> Predictions:
    """Reads the file. Raises LlmopsError that names the line for broken JSON, missing keys and bad values."""
    rows = [parse(line, f"{uri}:{number}") for number, line in enumerate(store_for(uri).read(uri).splitlines(), 1) if line.strip()]
    if not rows:
        raise LlmopsError(f"{uri}: holds no row; write one JSON object a line")
    row_ids = [str(row.get("id", number)) for number, row in enumerate(rows, 1)]
    repeated = (
        next((row_id for place, row_id in enumerate(row_ids) if row_id in row_ids[:place]), None)
        if len(set(row_ids)) < len(row_ids)
        else None
    )
    if repeated is not None:
        raise LlmopsError(f"{uri}: id {repeated} occurs twice; give each row its own")
    prompts = [str(row.get("question", "")) for row in rows]
    if all("retrieved" in row for row in rows):
        return Predictions(row_ids, prompts, None, *rankings(uri, rows, row_ids))
    lacking = next((place for place, row in enumerate(rows) if "prediction" not in row or "reference" not in row), None)
    if lacking is not None:
        raise LlmopsError(f"{uri}: row {row_ids[lacking]} needs `prediction` and `reference` (or all rows `retrieved` and `relevant`)")
    try:
        pairs = make_pairs([row["prediction"] for row in rows], [row["reference"] for row in rows], row_ids)
    except LlmopsError as error:
        raise LlmopsError(f"{uri}: {error}") from error
    return Predictions(row_ids, prompts, pairs, [], [])


def parse(line: bytes, where: str) -> dict[str, Any]:
    """One row."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise LlmopsError(f"{where}: is no JSON ({error}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise LlmopsError(f"{where}: is no JSON object; write one a line")
    return row


def rankings(uri: str, rows: Sequence[dict[str, Any]], row_ids: Sequence[str]) -> tuple[list[list[str]], list[dict[str, float]]]:
    """Documents found and the gains of relevant ones."""
    retrieved, relevant = [], []
    for row, row_id in zip(rows, row_ids, strict=True):
        found, gains = row["retrieved"], row.get("relevant")
        if not isinstance(found, list) or not isinstance(gains, list | dict):
            raise LlmopsError(f"{uri}: row {row_id} needs `retrieved` (a list) and `relevant` (a list, or gains by document)")
        retrieved.append([str(document) for document in found])
        relevant.append(
            {str(key): float(gain) for key, gain in gains.items()} if isinstance(gains, dict) else dict.fromkeys(map(str, gains), 1.0)
        )
    return retrieved, relevant
