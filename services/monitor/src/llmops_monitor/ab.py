"""`llmops-monitor ab`: two variants that share the live traffic, judged as often as anybody looks."""

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmops_monitor.ab_config import AbConfig
from llmops_monitor.arms import Arms, arms_of, num_failed, split, unit_values
from llmops_monitor.load import capture_uri, dead_letter, digest, read_log, select
from llmops_monitor.pairs import arm_name, as_served, read_references
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.contracts.package import ModelPackage
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import document_uri, follow, read_document, refer
from llmops_shared.page import render
from llmops_shared.resume import digest_of, finished
from llmops_shared.statistics import Estimate
from llmops_shared.store import folder_of

if TYPE_CHECKING:
    from llmops_monitor.ab_verdict import AbFigures
    from llmops_monitor.metrics import Metric

logger = logging.getLogger(__name__)


def run(config: AbConfig) -> Report:
    """Reads the endpoint's capture, splits it by variant, draws intervals that hold at every look, and decides."""
    endpoint_uri = document_uri(config.endpoint, Endpoint)
    endpoint = read_document(endpoint_uri, Endpoint)
    control, treatment = arms_of(endpoint, endpoint_uri, config.control, config.treatment)
    log = read_log(capture_uri(endpoint_uri, endpoint))
    exchanges = as_served(select(log, config.select, "select"), endpoint)
    inputs = {"endpoint": digest_of(endpoint_uri, Endpoint), "exchanges": digest(exchanges, log.broken)}
    if config.dataset is not None:
        inputs["dataset"] = digest_of(config.dataset, DatasetManifest)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.ab_verdict import decide
    from llmops_monitor.extra_metrics import cost_metric, descriptor_metrics
    from llmops_monitor.metrics import METRICS
    from llmops_monitor.publish import Findings, publish

    arms = split(exchanges, control, treatment, config.unit)
    references: dict[str, str] = {}
    if config.dataset is not None:
        row_ids = {exchange.metadata["row_id"] for exchange in exchanges if "row_id" in exchange.metadata}
        references = read_references(config.dataset, config.splits, row_ids)
    metrics = [*METRICS, *descriptor_metrics(exchanges), *([cost_metric(config.prices)] if config.prices else [])]
    figures, measurements = measure(arms, (control, treatment), references, config, metrics)
    measurements += costs_of_good_answers(arms, references, metrics, config)
    verdict, reasons = decide(figures, config)
    reasons += arms.remarks
    if log.broken:
        reasons.append(f"{len(log.broken)} broken lines of the log were left out; they are listed in dead_letter.jsonl.")
    logger.info("verdict %s from %d and %d units", verdict, *figures.counts)

    title = f"{endpoint.name}: {treatment.name} against {control.name}"
    summary = (
        f"{figures.counts[0]} units of {control.name} and {figures.counts[1]} of {treatment.name}, "
        f"from {exchanges[0].time.isoformat()} to {exchanges[-1].time.isoformat()}; every interval holds at every look"
    )
    files = {"html": ("report.html", render(title, summary, measurements, verdict, reasons).encode())}
    if log.broken:
        files["dead_letter"] = ("dead_letter.jsonl", dead_letter(log.broken))
    subjects = subjects_of(config, endpoint_uri, control, treatment)
    if config.environment is not None:
        # before the report, for a finished report is kept and would not be told again
        tell_quality(config.environment, endpoint.name, config.metrics[0], measurements, (control, treatment))
    names = {"control": arm_name(control), "treatment": arm_name(treatment)}
    return publish(config, Findings("ab", config.name, subjects, measurements, verdict, reasons, files, names), config.dataset)


def tell_quality(
    environment: str, endpoint: str, metric: str, measurements: Sequence[Measurement], variants: tuple[Variant, Variant]
) -> None:
    """Publishes what the endpoint's alarms listen to: the quality of all answers that clients got."""
    from llmops_monitor.answer_quality import put_quality, quality_request

    found = {item.name: item for item in measurements}
    roles = {f"{role}/{metric}": variant.name for role, variant in zip(("control", "treatment"), variants, strict=True)}
    sides = {name: found[role] for role, name in roles.items() if role in found}
    if not sides:
        logger.warning("no answer quality is known, so none goes to CloudWatch")
        return
    served = sum(side.value * side.num_rows for side in sides.values()) / sum(side.num_rows for side in sides.values())
    put_quality(quality_request(environment, endpoint, datetime.now(UTC), served, {name: side.value for name, side in sides.items()}))


def measure(
    arms: Arms, variants: tuple[Variant, Variant], references: Mapping[str, str], config: AbConfig, metrics: "Sequence[Metric]"
) -> "tuple[AbFigures, list[Measurement]]":
    """What the verdict rests on, and every figure of the report."""
    from llmops_monitor.ab_verdict import AbFigures, num_conditions
    from llmops_monitor.sequential import arm, difference_sequence, mismatch_p_value, share_difference_sequence, share_sequence

    confidence = 1 - (1 - config.confidence) / num_conditions(config)
    counts = (len(arms.control), len(arms.treatment))
    differences: dict[str, Estimate | None] = {}
    measurements = [plain("units/control", counts[0]), plain("units/treatment", counts[1])]
    for metric in metrics:
        if metric.name == "error_rate":
            continue
        sides = [arm(unit_values(side, metric, references)) for side in (arms.control, arms.treatment)]
        difference = difference_sequence(sides[0], sides[1], confidence, config.planned_units)
        differences[metric.name] = exponential(difference) if metric.unit == "ms" else difference
        for role, side in zip(("control", "treatment"), sides, strict=True):
            if side.num_units:
                value = math.exp(side.mean) if metric.unit == "ms" else side.mean
                measurements.append(plain(f"{role}/{metric.name}", value, side.num_units, metric.better, metric.unit))
        name = f"{'ratio' if metric.unit == 'ms' else 'difference'}/{metric.name}"
        if (found := differences[metric.name]) is not None:
            measurements.append(with_interval(name, found, confidence, metric.better))

    # two sequences make one interval, so each gets half of what it may err
    halved = 1 - (1 - confidence) / 2
    rates = [share_sequence(num_failed(side), len(side), halved) for side in (arms.control, arms.treatment)]
    errors = share_difference_sequence(rates[0], rates[1])
    for name, rate in (("control/error_rate", rates[0]), ("treatment/error_rate", rates[1]), ("difference/error_rate", errors)):
        measurements.append(with_interval(name, rate, confidence, "lower"))
    mismatch = mismatch_p_value(counts, [variant.weight for variant in variants])
    measurements.append(plain("sample_ratio_p_value", mismatch, sum(counts)))
    quality: dict[str, Estimate | None] = {name: differences[name] for name in config.metrics}
    return AbFigures(quality, differences["latency_ms"], errors, mismatch, counts), measurements


def costs_of_good_answers(arms: Arms, references: Mapping[str, str], metrics: "Sequence[Metric]", config: AbConfig) -> list[Measurement]:
    """What 1,000 good answers of each arm cost, where there are prices."""
    from llmops_monitor.good_answers import good_answers_cost

    by_name = {metric.name: metric for metric in metrics}
    if "cost_usd" not in by_name:
        return []
    found = []
    for role, side in (("control", arms.control), ("treatment", arms.treatment)):
        answers = [(exchange, references.get(exchange.metadata.get("row_id", ""))) for group in side.values() for exchange in group]
        quality, cost = by_name[config.metrics[0]], by_name["cost_usd"]
        found += good_answers_cost(role, answers, quality, cost, config.good_at_least, config.confidence)
    return found


def exponential(estimate: Estimate | None) -> Estimate | None:
    """A ratio from a difference of logarithms."""
    if estimate is None:
        return None
    return Estimate(math.exp(estimate.value), math.exp(estimate.low), math.exp(estimate.high), estimate.num_rows)


def plain(name: str, value: float, num_rows: int | None = None, better: str = "neither", unit: str = "") -> Measurement:
    """A figure without an interval."""
    rows = int(value) if num_rows is None else num_rows
    return Measurement.model_validate(
        {"name": name, "value": value, "low": None, "high": None, "confidence": None, "num_rows": rows, "better": better, "unit": unit}
    )


def with_interval(name: str, figure: Estimate, confidence: float, better: str) -> Measurement:
    """A figure whose interval holds at every look."""
    return Measurement.model_validate(
        {"name": name, "value": figure.value, "low": figure.low, "high": figure.high, "confidence": confidence}
        | {"num_rows": figure.num_rows, "better": better}
    )


def subjects_of(config: AbConfig, endpoint_uri: str, control: Variant, treatment: Variant) -> dict[str, Reference]:
    """References to the documents judged, as written from the report's folder."""
    subjects = {"endpoint": refer(endpoint_uri, Endpoint, config.out)}
    for role, variant in (("control", control), ("treatment", treatment)):
        package_uri, _ = follow(variant.package, folder_of(endpoint_uri), ModelPackage)
        subjects[role] = refer(package_uri, ModelPackage, config.out)
    if config.dataset is not None:
        subjects["dataset"] = refer(config.dataset, DatasetManifest, config.out)
    return subjects
