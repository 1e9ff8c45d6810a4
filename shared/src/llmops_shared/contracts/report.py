"""Report: numbers about a model or its traffic, and the verdict drawn from them."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Reference, Value

Verdict = Literal[
    "promote", "keep", "rollback", "drift", "no_drift", "alarm", "not_enough_data", "pass", "fail", "better", "worse", "no_difference"
]  # fmt: skip


class Measurement(Value):
    """One figure with its confidence interval."""

    name: str
    """Metric name, the same in MLflow: `perplexity`, `rouge_l`, `signature_exact_match`, `latency_ms`, ..."""
    value: float
    """The estimate."""
    low: float | None
    """Lower end of the interval; None where no interval is defined."""
    high: float | None
    """Upper end of the interval."""
    confidence: float | None = Field(default=0.95, gt=0, lt=1)
    """Coverage of the interval."""
    num_rows: int = Field(ge=0)
    """Rows it was computed from."""
    better: Literal["higher", "lower", "neither"]
    """Which direction is an improvement."""
    unit: str = ""
    """Unit, where it is not a plain ratio: `ms`, `tokens`, `answers/s`."""
    details: dict[str, str] = Field(default={})
    """How it was measured: `signature` (library, version, options), `num_fewshot`, `prompt_version`, `contamination`, ..."""


class Report(Contract):
    """A finished evaluation, comparison or drift check."""

    file_name: ClassVar[str] = "report.json"

    kind: Literal["report"] = "report"
    """What this document is."""
    report: Literal[
        "evaluation",
        "replay",
        "shadow",
        "ab",
        "plan",
        "review",
        "drift",
        "retrieval",
        "comparison",
        "descriptors",
        "infrastructure",
        "history",
        "status",
        "idle",
        "doctor",
    ]
    """What was asked."""
    name: str
    """Name of the report, as it appears in MLflow."""
    subjects: dict[str, Reference]
    """The documents judged, by role: `run`, `dataset`, `endpoint`, `production`, `shadow`, `control`, `treatment`, ..."""
    measurements: list[Measurement]
    """The figures."""
    verdict: Verdict | None
    """The decision, for reports that make one."""
    reasons: list[str]
    """The decision in words, one sentence each, with the figures it rests on."""
    parts: dict[str, Part]
    """Files, by role: `html`, `rows` (JSON lines, one a judged row), `scores` (JSON lines, one a measure, with each row's share)."""
    mlflow_run_id: str | None
    """The MLflow run of this job; None when it was not tracked."""
