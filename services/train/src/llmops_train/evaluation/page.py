"""The page of an evaluation: figures, a table by question kind, sample answers."""

import math
from collections import defaultdict
from collections.abc import Sequence

from llmops_shared.contracts.report import Measurement
from llmops_shared.page import Table, render
from llmops_train.evaluation.measures import Judged

SAMPLES_A_KIND = 4


def evaluation_page(title: str, summary: str, measurements: Sequence[Measurement], rows: Sequence[Judged]) -> str:
    """The HTML page."""
    kinds: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        kinds[row.question].append(row)
    columns = ("Kind", "Rows", "Perplexity", "Answered", "ROUGE-L", "Exact")
    tables = [Table("By question kind", columns, [line(kind, kinds[kind]) for kind in sorted(kinds)])]
    samples = [row for kind in sorted(kinds) for row in [row for row in kinds[kind] if row.answer is not None][:SAMPLES_A_KIND]]
    if samples:
        cells = [(row.question, row.prompt, row.reference, row.answer or "", f"{row.rouge_l:.2f}") for row in samples]
        tables.append(Table("Sample answers", ("Kind", "Question", "Reference", "Answer", "ROUGE-L"), cells))
    return render(title, summary, measurements, tables=tables)


def line(kind: str, rows: Sequence[Judged]) -> tuple[str, ...]:
    """One question kind in the table."""
    answered = [row for row in rows if row.answer is not None]
    tokens = sum(row.num_tokens for row in rows)
    perplexity = f"{math.exp(sum(row.nll for row in rows) / tokens):.1f}" if tokens else ""
    rouge = f"{sum(row.rouge_l or 0.0 for row in answered) / len(answered):.3f}" if answered else ""
    exact = f"{sum(bool(row.exact) for row in answered) / len(answered):.1%}" if answered else ""
    return kind, str(len(rows)), perplexity, str(len(answered)), rouge, exact
