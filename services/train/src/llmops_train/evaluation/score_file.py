"""The part of a report that keeps each row's share of each measure, for comparisons row by row."""

import json
from collections.abc import Sequence

import numpy as np

from llmops_shared.contracts import Report
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_train.metrics.scores import FORMULAS, Scores


def write_scores(scores: Sequence[Scores]) -> bytes:
    """JSON lines, one a measure."""
    lines = [
        {
            "name": one.name,
            "formula": one.formula,
            "better": one.better,
            "signature": one.signature,
            "row_ids": list(one.row_ids),
            "table": one.table.tolist(),
        }
        for one in scores
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def read_scores(uri: str) -> tuple[Report, dict[str, Scores]]:
    """A report with its measures row by row. Raises LlmopsError when it keeps none."""
    place = document_uri(uri, Report)
    report = read_document(place, Report)
    if "scores" not in report.parts:
        raise LlmopsError(
            f"{place}: keeps no figures row by row (a report of kind {report.report}); evaluate again, and compare that report"
        )
    found: dict[str, Scores] = {}
    for text in fetch_part(place, report.parts["scores"]).read_bytes().splitlines():
        line = json.loads(text)
        if line["formula"] not in FORMULAS:
            raise LlmopsError(
                f"{place}: {line['name']} uses the formula {line['formula']}, which this version does not know; evaluate again"
            )
        table = np.asarray(line.pop("table"), dtype=np.float64)
        found[line["name"]] = Scores(**line, table=table.reshape(len(line["row_ids"]), -1))
    return report, found
