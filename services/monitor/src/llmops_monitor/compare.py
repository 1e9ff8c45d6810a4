"""`llmops-monitor compare`: a shadow model against production, on the requests both answered."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmops_monitor.config import CompareConfig
from llmops_monitor.load import ExchangeLog, capture_uri, dead_letter, digest, read_log, select
from llmops_monitor.pairs import Pair, Pairing, arm_name, as_served, of_packages, pair_up, read_references, variants_of
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.package import ModelPackage
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import document_uri, follow, read_document, refer
from llmops_shared.errors import LlmopsError
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of

if TYPE_CHECKING:
    from llmops_monitor.metrics import Comparison, Metric

logger = logging.getLogger(__name__)

NUM_SHOWN = 5
MAX_SHOWN_CHARACTERS = 1500


def run(config: CompareConfig, judge_key: str | None = None) -> Report:
    """Reads the endpoint's capture, pairs the answers by request, measures both models and decides."""
    endpoint_uri = document_uri(config.endpoint, Endpoint)
    endpoint = read_document(endpoint_uri, Endpoint)
    production, shadow = variants_of(endpoint, endpoint_uri)
    log = read_log(answers_uri(config, endpoint_uri, endpoint))
    exchanges = of_packages(as_served(select(log, config.select, "select"), endpoint), production, shadow, log.uri)
    inputs = {"endpoint": digest_of(endpoint_uri, Endpoint), "exchanges": digest(exchanges, log.broken)}
    if config.dataset is not None:
        inputs["dataset"] = digest_of(config.dataset, DatasetManifest)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.metrics import compare_pairs
    from llmops_monitor.publish import Findings, publish
    from llmops_monitor.verdict import decide

    subjects = subjects_of(config, endpoint_uri, production, shadow)
    pairing = pair_up(exchanges, references_for(config, exchanges))
    metrics, told = metrics_for(config, pairing.pairs, judge_key)
    found = [compare_pairs(metric, pairing.pairs, config.confidence, config.seed) for metric in metrics]
    comparisons = {comparison.metric.name: comparison for comparison in found if comparison is not None}
    verdict, reasons = decide(comparisons, config)
    reasons += [*told, *remarks(pairing, log, config)]
    measurements = [figure for comparison in comparisons.values() for figure in comparison.measurements(config.confidence)]
    measurements += costs_of_good_answers(pairing.pairs, metrics, config)
    logger.info("verdict %s from %d pairs", verdict, len(pairing.pairs))

    title = f"{endpoint.name}: {shadow.name} against {production.name}"
    summary = f"{len(pairing.pairs)} requests sent to both, from {exchanges[0].time.isoformat()} to {exchanges[-1].time.isoformat()}"
    page = render(title, summary, measurements, verdict, reasons, tables(pairing.pairs))
    files = {"html": ("report.html", page.encode()), "rows": ("rows.jsonl", judged_rows(pairing.pairs, metrics))}
    if log.broken:
        files["dead_letter"] = ("dead_letter.jsonl", dead_letter(log.broken))
    if config.environment is not None:
        # before the report, for a finished report is kept and would not be told again
        tell_quality(config.environment, endpoint.name, comparisons.get(config.metrics[0]), (production, shadow))
    arms = {"production": arm_name(production), "shadow": arm_name(shadow)}
    return publish(config, Findings("shadow", config.name, subjects, measurements, verdict, reasons, files, arms), config.dataset)


def costs_of_good_answers(pairs: Sequence[Pair], metrics: "Sequence[Metric]", config: CompareConfig) -> list[Measurement]:
    """What 1,000 good answers of each model cost, where there are prices."""
    from llmops_monitor.good_answers import good_answers_cost

    by_name = {metric.name: metric for metric in metrics}
    if "cost_usd" not in by_name:
        return []
    sides = {
        "production": [(pair.production, pair.reference) for pair in pairs],
        "shadow": [(pair.shadow, pair.reference) for pair in pairs],
    }
    rest = (by_name[config.metrics[0]], by_name["cost_usd"], config.good_at_least, config.confidence, config.seed)
    return [one for role, answers in sides.items() for one in good_answers_cost(role, answers, *rest)]


def answers_uri(config: CompareConfig, endpoint_uri: str, endpoint: Endpoint) -> str:
    """Where the answers are: what the endpoint captured, or what a SageMaker shadow test stored.

    Raises LlmopsError when the shadow test is about other variants than the endpoint's.
    """
    if config.experiment is None:
        return capture_uri(endpoint_uri, endpoint)
    from llmops_monitor.inference_experiment import read_experiment

    test = read_experiment(config.experiment)
    production, shadow = variants_of(endpoint, endpoint_uri)
    if (test.endpoint, test.production, test.shadow) != (endpoint.name, production.name, shadow.name):
        raise LlmopsError(
            f"experiment={config.experiment}: compares {test.shadow} with {test.production} of endpoint {test.endpoint}, "
            f"and {endpoint_uri} describes {shadow.name} and {production.name} of {endpoint.name}; name the endpoint it was started on"
        )
    logger.info("shadow test %s is %s; its answers are at %s", test.name, test.status, test.capture_uri)
    return test.capture_uri


def metrics_for(config: CompareConfig, pairs: Sequence[Pair], judge_key: str | None) -> "tuple[list[Metric], list[str]]":
    """Everything that is measured, and what is to be said of how."""
    from llmops_monitor.extra_metrics import cost_metric, descriptor_metrics, judge_metric
    from llmops_monitor.metrics import METRICS

    answers = [answer for pair in pairs for answer in (pair.production, pair.shadow)]
    metrics, told = [*METRICS, *descriptor_metrics(answers)], []
    if config.prices:
        metrics.append(cost_metric(config.prices))
    if config.judge is not None:
        from llmops_monitor.judge import judge_pairs, open_judge

        preferences = judge_pairs(pairs, config.judge, open_judge(config.judge, judge_key))
        metrics.append(judge_metric(preferences))
        asked = len(preferences.shadow) + preferences.num_unreadable
        told.append(
            f"{config.judge.model} judged {asked} pairs in both orders: {preferences.num_swayed} verdicts changed with the order "
            f"and count as ties, {preferences.num_unreadable} could not be read and are left out."
        )
    return metrics, told


def tell_quality(environment: str, endpoint: str, quality: "Comparison | None", variants: tuple[Variant, Variant]) -> None:
    """Publishes what the endpoint's alarms listen to: the quality of the answers that clients got."""
    from llmops_monitor.answer_quality import put_quality, quality_request

    if quality is None:
        logger.warning("no answer quality is known, so none goes to CloudWatch")
        return
    production, shadow = variants
    of_variants = {production.name: quality.production.value, shadow.name: quality.shadow.value}
    put_quality(quality_request(environment, endpoint, datetime.now(UTC), quality.production.value, of_variants))


def subjects_of(config: CompareConfig, endpoint_uri: str, production: Variant, shadow: Variant) -> dict[str, Reference]:
    """References to the documents judged, as written from the report's folder."""
    subjects = {"endpoint": refer(endpoint_uri, Endpoint, config.out)}
    for role, variant in (("production", production), ("shadow", shadow)):
        package_uri, _ = follow(variant.package, folder_of(endpoint_uri), ModelPackage)
        subjects[role] = refer(package_uri, ModelPackage, config.out)
    if config.dataset is not None:
        subjects["dataset"] = refer(config.dataset, DatasetManifest, config.out)
    return subjects


def references_for(config: CompareConfig, exchanges: Sequence[Exchange]) -> Mapping[str, str]:
    """Reference answers by row id; empty without a dataset."""
    if config.dataset is None:
        return {}
    row_ids = {exchange.metadata["row_id"] for exchange in exchanges if "row_id" in exchange.metadata}
    return read_references(config.dataset, config.splits, row_ids)


def remarks(pairing: Pairing, log: ExchangeLog, config: CompareConfig) -> list[str]:
    """What was left out, in words."""
    found = []
    if pairing.num_unpaired:
        found.append(f"{pairing.num_unpaired} exchanges were left out: their request has an answer of one model only.")
    without = sum(pair.reference is None for pair in pairing.pairs)
    if config.dataset is not None and without:
        found.append(f"{without} pairs have no reference answer in {', '.join(config.splits)}; only latency, length and errors use them.")
    if log.broken:
        found.append(f"{len(log.broken)} broken lines of the log were left out; they are listed in dead_letter.jsonl.")
    return found


def tables(pairs: Sequence[Pair]) -> list[Table]:
    """The pairs where shadow lost and gained most, side by side; without references the first pairs."""
    from llmops_shared.rouge import rouge_l

    def gain(pair: Pair) -> float:
        return rouge_l(pair.shadow.response, pair.reference or "") - rouge_l(pair.production.response, pair.reference or "")

    judged = sorted((pair for pair in pairs if pair.answered and pair.reference is not None), key=gain)
    if not judged:
        return [Table("Pairs", COLUMNS, [shown(pair, "") for pair in pairs[:NUM_SHOWN]])]
    worst = [pair for pair in judged[:NUM_SHOWN] if gain(pair) < 0]
    best = [pair for pair in reversed(judged[-NUM_SHOWN:]) if gain(pair) > 0]
    return [
        Table(title, COLUMNS, [shown(pair, f"{gain(pair):+.3f}") for pair in rows])
        for title, rows in (("Where shadow lost most", worst), ("Where shadow gained most", best))
        if rows
    ]


COLUMNS = ("Prompt", "Reference", "Production", "Shadow", "ROUGE-L difference")


def shown(pair: Pair, gain: str) -> list[str]:
    """A row of the page, personal data masked."""
    from llmops_monitor.mask import mask

    texts = [mask(text) for text in (pair.prompt, pair.reference or "", pair.production.response, pair.shadow.response)]
    return [text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]} …" for text in texts] + [gain]


def judged_rows(pairs: Sequence[Pair], metrics: "Sequence[Metric]") -> bytes:
    """The figures of each pair as JSON lines, without the texts: they stay in the log, where their access is governed."""
    lines = []
    for pair in pairs:
        row: dict[str, object] = {"request_id": pair.production.request_id, "row_id": pair.production.metadata.get("row_id")}
        for role, answer in (("production", pair.production), ("shadow", pair.shadow)):
            for metric in metrics:
                row[f"{role}/{metric.name}"] = metric.value(answer, pair.reference)
        lines.append(json.dumps(row) + "\n")
    return "".join(lines).encode()
