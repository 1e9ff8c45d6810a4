"""`llmops-train compare`: the gate between two evaluations."""

import logging
import tempfile
from pathlib import Path

from llmops_shared.config import JobConfig
from llmops_shared.contracts import Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import refer, store_part, write_document
from llmops_shared.page import Table, render, show
from llmops_shared.resume import digest_of, finished
from llmops_shared.tracking import tracked
from llmops_train.evaluation.config import CompareConfig
from llmops_train.evaluation.gate import Compared, compare_scores, overall, sentence
from llmops_train.evaluation.score_file import read_scores

logger = logging.getLogger(__name__)


class CompareJob(JobConfig, CompareConfig):
    """A comparison that is written down."""

    out: str


def compare(config: CompareConfig) -> Report:
    """Compares candidate with baseline row by row; a finished report is kept."""
    if config.out is None:
        return judge(config, ".")[0]
    job = CompareJob(**config.model_dump())
    kept = finished(job, Report, {name: digest_of(getattr(config, name), Report) for name in ("baseline", "candidate")})
    if kept is not None:
        return kept
    report, compared = judge(config, config.out)
    with tracked(config.tracking, "compare", report.name) as tracking, tempfile.TemporaryDirectory() as scratch:
        tracking.parameters({"baseline": config.baseline, "candidate": config.candidate, "verdict": str(report.verdict)})
        tracking.metrics({item.name: item.value for item in report.measurements})
        html = Path(scratch) / "report.html"
        html.write_text(page(report, compared), encoding="utf-8")
        tracking.artifact(html)
        report = report.model_copy(
            update={"parts": {"html": store_part(config.out, "report.html", html)}, "mlflow_run_id": tracking.run_id}
        )
    write_document(config.out, report)
    return report


def judge(config: CompareConfig, out: str) -> tuple[Report, list[Compared]]:
    """The report and what it rests on."""
    (first, baseline), (second, candidate) = read_scores(config.baseline), read_scores(config.candidate)
    compared = compare_scores(baseline, candidate, config.gate, config.seed)
    for one in compared:
        logger.info("%s", sentence(one))
    report = Report(
        report="comparison",
        name=f"{second.name}-against-{first.name}",
        subjects={"baseline": refer(config.baseline, Report, out), "candidate": refer(config.candidate, Report, out)},
        measurements=[difference(one, config.gate.alpha) for one in compared],
        verdict=overall(compared),
        reasons=[sentence(one) for one in compared],
        parts={},
        mlflow_run_id=None,
    )
    return report, compared


def difference(one: Compared, alpha: float) -> Measurement:
    """Candidate minus baseline as a figure."""
    found = one.difference
    details = {"p_holm": f"{one.p_holm:.4g}", "margin": f"{one.margin:.4g}", "outcome": one.outcome}
    details |= {"baseline": f"{found.first:.6g}", "candidate": f"{found.second:.6g}", "test": "approximate randomisation, paired bootstrap"}
    return Measurement(
        name=f"{one.name}_difference",
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=1 - alpha,
        num_rows=found.num_rows,
        better=one.better,
        details=details,
    )


def page(report: Report, compared: list[Compared]) -> str:
    """The HTML page."""
    columns = ("Measure", "Baseline", "Candidate", "p after Holm", "Margin", "Outcome")
    rows = [
        (one.name, show(one.difference.first), show(one.difference.second), f"{one.p_holm:.2g}", f"{one.margin:.2g}", one.outcome)
        for one in compared
    ]
    summary = "Differences are candidate minus baseline on the rows both were judged on, with a paired bootstrap interval."
    return render(report.name, summary, report.measurements, report.verdict, report.reasons, [Table("Measures", columns, rows)])
