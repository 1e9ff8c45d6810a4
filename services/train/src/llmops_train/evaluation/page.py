"""The page of an evaluation: verdict, figures, how each was measured, a table by question kind, sample answers."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmops_shared.contracts.report import Measurement
from llmops_shared.page import Table, render
from llmops_train.evaluation.measures import Judged

if TYPE_CHECKING:
    from llmops_train.evaluation.contamination import Overlap
    from llmops_train.evaluation.findings import Findings

SAMPLES_A_KIND = 4
SAMPLE_LINES = 12


def evaluation_page(
    title: str,
    summary: str,
    measurements: Sequence[Measurement],
    findings: "Findings",
    overlaps: Mapping[str, "Overlap"],
    verdict: str | None,
    reasons: Sequence[str],
) -> str:
    """The HTML page."""
    tables = []
    kinds: dict[str, list[Judged]] = defaultdict(list)
    for row in findings.rows:
        kinds[row.question].append(row)
    if kinds:
        columns = ("Kind", "Rows", "Perplexity", "Answered", "ROUGE-L", "Exact")
        tables.append(Table("By question kind", columns, [line(kind, kinds[kind]) for kind in sorted(kinds)]))
    samples = [row for kind in sorted(kinds) for row in [row for row in kinds[kind] if row.answer is not None][:SAMPLES_A_KIND]]
    if samples:
        cells = [(row.question, row.prompt, row.reference, row.answer or "", f"{row.rouge_l:.2f}") for row in samples]
        tables.append(Table("Sample answers", ("Kind", "Question", "Reference", "Answer", "ROUGE-L"), cells))
    for role, (_, lines) in findings.files.items():
        if lines:
            keys = [key for key in lines[0] if key != "row_id"]
            shown = [tuple(str(one.get(key, ""))[:600] for key in keys) for one in lines[:SAMPLE_LINES]]
            tables.append(Table(f"Sample of {role}", tuple(key.replace("_", " ").capitalize() for key in keys), shown))
    if overlaps:
        found = [(name, str(overlap), ", ".join(overlap.rows[:5])) for name, overlap in overlaps.items()]
        tables.append(Table("Contamination: rows that stand in the training data", ("Judged", "Found", "Such as"), found))
    details = [(item.name, "; ".join(f"{key}: {value}" for key, value in item.details.items())) for item in measurements if item.details]
    if details:
        tables.append(Table("How each figure was measured", ("Metric", "Details"), details))
    return render(title, summary, measurements, verdict, [*reasons, *findings.reasons], tables)


def line(kind: str, rows: Sequence[Judged]) -> tuple[str, ...]:
    """One question kind in the table."""
    answered = [row for row in rows if row.answer is not None]
    tokens = sum(row.num_tokens for row in rows)
    perplexity = f"{math.exp(sum(row.nll for row in rows) / tokens):.1f}" if tokens else ""
    rouge = f"{sum(row.rouge_l or 0.0 for row in answered) / len(answered):.3f}" if answered else ""
    exact = f"{sum(bool(row.exact) for row in answered) / len(answered):.1%}" if answered else ""
    return kind, str(len(rows)), perplexity, str(len(answered)), rouge, exact
