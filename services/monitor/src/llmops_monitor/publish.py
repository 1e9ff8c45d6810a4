"""The last steps of every report: MLflow, the parts, and the document that names them."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from llmops_monitor.metric_queue import MetricQueue
from llmops_shared.config import JobConfig
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.report import Measurement, Report, Verdict
from llmops_shared.documents import describe, document_uri, read_document, sha256, store_part, write_document
from llmops_shared.store import store_for
from llmops_shared.tracking import Run, tracked


@dataclass(frozen=True)
class Findings:
    """All of a report but where it is kept."""

    report: Literal["shadow", "ab", "review", "drift", "retrieval", "descriptors", "infrastructure", "history"]
    name: str
    subjects: dict[str, Reference]
    measurements: Sequence[Measurement]
    verdict: Verdict | None
    reasons: list[str]
    files: Mapping[str, tuple[str, bytes]]
    """By role: file name and content."""
    arms: Mapping[str, str] = field(default_factory=dict)
    """By role what it is called in MLflow, where its figures, `role/metric` here, are a run of their own."""


def publish(
    config: JobConfig, findings: Findings, dataset: str | None = None, steps: Sequence[tuple[datetime, Mapping[str, float]]] = ()
) -> Report:
    """Records the findings in MLflow (tag `llmops.stage` = `monitor`), writes the parts, and last the document.

    `dataset` is the DatasetManifest with the reference answers; `steps` are figures over time, one step an hour since 1970.
    """
    with tracked(config.tracking, "monitor", findings.name) as run, tempfile.TemporaryDirectory() as scratch:
        run.parameters(config.model_dump(mode="json", exclude={"tracking"}))
        with MetricQueue(run) as queue:
            for moment, values in steps:
                queue.metrics(values, int(moment.timestamp()) // 3600)
            if not steps:
                queue.metrics({figure.name: figure.value for figure in findings.measurements})
        for role, arm in findings.arms.items():
            own = {
                figure.name.removeprefix(f"{role}/"): figure.value for figure in findings.measurements if figure.name.startswith(f"{role}/")
            }
            run.nested(arm, own)
        if dataset is not None:
            record_dataset(run, dataset)
        parts = {}
        for role, (name, content) in findings.files.items():
            path = Path(scratch) / name
            path.write_bytes(content)
            parts[role] = describe(path, name)
            run.artifact(path)
        report = Report(
            report=findings.report,
            name=findings.name,
            subjects=findings.subjects,
            measurements=list(findings.measurements),
            verdict=findings.verdict,
            reasons=findings.reasons,
            parts=parts,
            mlflow_run_id=run.run_id,
        )
        document = Path(scratch) / Report.file_name
        document.write_bytes(report.to_json())
        run.artifact(document)
        for name, content in findings.files.values():
            store_part(config.out, name, content)
        write_document(config.out, report)
    return report


def record_dataset(run: Run, uri: str) -> None:
    """Names the dataset as an input of the run."""
    place = document_uri(uri, DatasetManifest)
    run.dataset(read_document(place, DatasetManifest), place, sha256(store_for(place).read(place)), "reference")
