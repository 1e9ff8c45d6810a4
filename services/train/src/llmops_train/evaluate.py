"""`llmops-train evaluate`: measures a model, an endpoint or predictions on rows it has not seen, and writes a Report."""

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_shared.contracts import DatasetManifest, Reference, Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import document_uri, read_document, refer, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.tracking import tracked
from llmops_train.evaluation.config import LIKELIHOOD, EvaluateConfig
from llmops_train.evaluation.subject import Subject, find_subject

if TYPE_CHECKING:
    from llmops_train.evaluation.contamination import Overlap
    from llmops_train.evaluation.findings import Findings

logger = logging.getLogger(__name__)

USUAL = {
    "model": ["perplexity", "rouge_l", "answer_exact_match", "signature_exact_match", "tokens_per_second"],
    "endpoint": ["rouge_l", "answer_exact_match", "squad_f1", "tokens_per_second"],
    "predictions": ["exact_match", "squad_f1", "rouge_l"],
}


def evaluate(config: EvaluateConfig) -> Report:
    """Judges what the config names; a finished report is kept."""
    began = time.time()
    subject = find_subject(config)
    place = document_uri(config.dataset, DatasetManifest) if config.dataset is not None else None
    manifest = read_document(place, DatasetManifest) if place is not None else None
    inputs = inputs_of(config, subject, place)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept
    names = measures_of(config, subject)
    check_request(config, subject, place, manifest, names)

    from llmops_train.evaluation.findings import find  # these load torch, which a kept report need not
    from llmops_train.evaluation.gate import check_thresholds, compare_scores, overall, sentence
    from llmops_train.evaluation.journal import Journal
    from llmops_train.evaluation.page import evaluation_page
    from llmops_train.evaluation.score_file import read_scores, write_scores

    request = {"settings": config.model_dump(mode="json", exclude={"out", "tracking"}), "inputs": inputs}
    journal = Journal(config.out, request)
    findings = find(config, subject, place, manifest, names, journal)
    overlaps = contamination(config, subject, findings)
    measurements = [with_overlap(item, overlaps) for item in findings.measurements]
    for item in measurements:
        logger.info("%s: %s %.4g, %d rows", subject.name, item.name, item.value, item.num_rows)

    met, reasons = check_thresholds(measurements, config.thresholds)
    verdict: Any = ("pass" if met else "fail") if config.thresholds else None
    if config.baseline is not None:
        compared = compare_scores(read_scores(config.baseline)[1], {one.name: one for one in findings.scores}, config.gate, config.seed)
        reasons += [sentence(one) for one in compared]
        verdict = "fail" if verdict == "fail" else overall(compared)

    with tracked(config.tracking, "evaluate", f"{subject.name}-evaluation", began) as tracking, tempfile.TemporaryDirectory() as scratch:
        settings = config.model_dump(include={"split", "limit", "perplexity_rows", "max_new_tokens"})
        tracking.parameters({**subject.parameters, **settings, "evaluated_sha256": subject.sha256[:12]})
        if manifest is not None and place is not None:
            tracking.dataset(manifest, place, inputs["dataset"], "evaluation")
        tracking.metrics({item.name: item.value for item in measurements})
        html = Path(scratch) / "report.html"
        summary = f"{subject.name} on {on_what(config, manifest)}: {findings.summary()}."
        title = f"Evaluation of {subject.name}"
        html.write_text(evaluation_page(title, summary, measurements, findings, overlaps, verdict, reasons), encoding="utf-8")
        tracking.artifact(html)
        rows = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in findings.rows).encode()
        document = Report(
            report="evaluation",
            name=f"{subject.name}-evaluation",
            subjects=subjects_of(config, subject, place),
            measurements=measurements,
            verdict=verdict,
            reasons=[*reasons, *findings.reasons],
            parts={
                "rows": store_part(config.out, "rows.jsonl", rows),
                "scores": store_part(config.out, "scores.jsonl", write_scores(findings.scores)),
                "html": store_part(config.out, "report.html", html),
                **findings.store_parts(config.out),
            },
            mlflow_run_id=tracking.run_id,
        )
    write_document(config.out, document)
    journal.clear()
    return document


def inputs_of(config: EvaluateConfig, subject: Subject, place: str | None) -> dict[str, str]:
    """Digests of everything the figures depend on."""
    inputs = {subject.role if subject.kind != "model" else "run": subject.sha256}
    if place is not None:
        inputs["dataset"] = digest_of(place, DatasetManifest)
    for name in ("baseline", "reuse"):
        if getattr(config, name) is not None:
            inputs[name] = digest_of(getattr(config, name), Report)
    return inputs


def measures_of(config: EvaluateConfig, subject: Subject) -> list[str]:
    """The measures asked for, or the usual ones; none where only benchmarks are run."""
    if config.measures is not None:
        return list(config.measures)
    return [] if config.dataset is None and config.predictions is None else USUAL[subject.kind]


def check_request(
    config: EvaluateConfig, subject: Subject, place: str | None, manifest: DatasetManifest | None, names: Sequence[str]
) -> None:
    """Raises LlmopsError, before any work, for what cannot be measured."""
    from llmops_train.metrics.text import check_texts

    if config.split == "train" and manifest is not None:
        raise LlmopsError("split train: models learn from it, so figures on it say nothing; judge on test or validation")
    answers = [name for name in names if name not in LIKELIHOOD]
    if manifest is not None and manifest.view == "text" and answers:
        raise LlmopsError(f"{place}: is a text dataset, which has no answers to judge ({', '.join(answers)}); set measures=[perplexity]")
    unseen = [name for name in names if name in LIKELIHOOD] if subject.kind != "model" else []
    if unseen:
        raise LlmopsError(
            f"{', '.join(unseen)}: needs the model itself (run=...), {subject.kind} gives text only; leave it out of measures"
        )
    if config.reuse is not None:
        judged = read_document(config.reuse, Report).subjects.get(subject.role)
        if judged is None or judged.sha256 != subject.sha256:
            raise LlmopsError(f"reuse {config.reuse}: judged something else than {subject.place}; name a report about that")
    check_texts(names, config.encoder)


def contamination(config: EvaluateConfig, subject: Subject, findings: "Findings") -> dict[str, "Overlap"]:
    """Which judged rows stand in what the model learnt; empty where nobody knows what that was."""
    from llmops_train.evaluation.contamination import overlaps, training_texts

    place = document_uri(config.trained_on, DatasetManifest) if config.trained_on is not None else subject.trained_on
    if place is None:
        logger.info("contamination: not known what the model learnt (trained_on would say it)")
        return {}
    found = overlaps(findings.texts(), training_texts(place, read_document(place, DatasetManifest)))
    for name, overlap in found.items():
        logger.info("contamination of %s by %s: %s", name, place, overlap)
    return found


def with_overlap(item: Measurement, overlaps: Mapping[str, "Overlap"]) -> Measurement:
    """The figure with its contamination beside it."""
    overlap = overlaps.get(item.details.get("benchmark", "rows"))
    return item if overlap is None else item.model_copy(update={"details": {**item.details, "contamination": str(overlap)}})


def subjects_of(config: EvaluateConfig, subject: Subject, place: str | None) -> dict[str, Reference]:
    """The documents judged, by role."""
    found = {subject.role: subject.refer(config.out)}
    if place is not None:
        found["dataset"] = refer(place, DatasetManifest, config.out)
    if config.baseline is not None:
        found["baseline"] = refer(config.baseline, Report, config.out)
    return found


def on_what(config: EvaluateConfig, manifest: DatasetManifest | None) -> str:
    """What it was judged on, in words."""
    if manifest is not None:
        return f"split {config.split} of {manifest.name}"
    return "its own predictions" if config.predictions is not None else "benchmarks"
