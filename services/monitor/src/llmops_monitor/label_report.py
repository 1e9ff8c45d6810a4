"""`llmops-monitor labels`: what people said, as rows that preprocess reads and as a measure of the judge."""

import logging

from llmops_monitor.labels import Calibration, calibrate, training_rows
from llmops_monitor.review_config import LabelsConfig
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.page import render
from llmops_shared.resume import finished
from llmops_shared.review.location import queue_for
from llmops_shared.statistics import Estimate

logger = logging.getLogger(__name__)


def run(config: LabelsConfig) -> Report:
    """Reads the answers, writes the rows and measures the agreement. Raises LlmopsError when nobody has answered."""
    reviewed = queue_for(config.queue).reviewed()
    if not reviewed:
        raise LlmopsError(f"{config.queue.uri}: nobody has answered yet; let people answer first (llmops-monitor review)")
    answers = [answer.model_dump_json() for _, found in reviewed for answer in found]
    kept = finished(config, Report, {"answers": sha256("\n".join(answers).encode())})
    if kept is not None:
        return kept

    from llmops_monitor.publish import Findings, publish
    from llmops_monitor.retraining import masked_row

    rows = [masked_row(row) for row in training_rows(reviewed, config.licence)]
    measurements, reasons = describe(calibrate(reviewed, config.confidence), config.confidence)
    reasons.append(f"{len(rows)} of {len(reviewed)} items gave a row to train on: an answer people preferred, called good, or wrote.")
    summary = f"{len(answers)} answers to {len(reviewed)} items of {config.queue.uri}"
    page = render("What people said", summary, measurements, None, reasons)
    content = "".join(row.model_dump_json() + "\n" for row in rows).encode()
    files = {"html": ("report.html", page.encode()), "rows": ("rows.jsonl", content)}
    logger.info("%d rows from %d items", len(rows), len(reviewed))
    return publish(config, Findings("review", config.name, {}, measurements, None, reasons, files))


def describe(calibration: Calibration, confidence: float) -> tuple[list[Measurement], list[str]]:
    """Figures and sentences."""
    figures: list[Measurement] = []
    reasons: list[str] = []
    if calibration.alpha is None:
        reasons.append("Agreement among people is not defined: no item has two answers, or all answers are the same.")
    else:
        figures.append(plain("krippendorff_alpha", calibration.alpha, calibration.num_items))
        # Krippendorff's own bounds (Content Analysis, 2004, p. 241)
        word = "reliable" if calibration.alpha >= 0.8 else "fit for tentative conclusions" if calibration.alpha >= 0.667 else "not reliable"
        reasons.append(f"Agreement among people: Krippendorff's alpha {calibration.alpha:.2f}, {word}.")
    if calibration.judge_agreement is not None:
        figures.append(interval("judge_agreement", calibration.judge_agreement, confidence, "higher"))
        kappa = "" if calibration.judge_kappa is None else f", Cohen's kappa {calibration.judge_kappa:.2f}"
        if calibration.judge_kappa is not None:
            figures.append(plain("judge_kappa", calibration.judge_kappa, calibration.num_judged))
        share = calibration.judge_agreement
        interval_told = f"({share.low:.0%} to {share.high:.0%})"
        reasons.append(f"The judge says what people say in {share.value:.0%} of {calibration.num_judged} items {interval_told}{kappa}.")
    if calibration.first_shown is not None:
        share = calibration.first_shown
        figures.append(interval("first_shown_share", share, confidence, "neither"))
        bias = "; people may judge the place and not the answer" if share.low > 0.5 or share.high < 0.5 else ""
        reasons.append(f"The answer shown first was chosen {share.value:.0%} of the time ({share.low:.0%} to {share.high:.0%}){bias}.")
    return figures, reasons


def plain(name: str, value: float, num_rows: int) -> Measurement:
    """A figure without an interval; more agreement is better."""
    return Measurement(name=name, value=value, low=None, high=None, confidence=None, num_rows=num_rows, better="higher")


def interval(name: str, share: Estimate, confidence: float, better: str) -> Measurement:
    """A share with its interval."""
    return Measurement.model_validate(
        {"name": name, "value": share.value, "low": share.low, "high": share.high, "confidence": confidence}
        | {"num_rows": share.num_rows, "better": better}
    )
