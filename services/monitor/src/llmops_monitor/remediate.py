"""`llmops-monitor remediate REPORT`: what moved, what to do about it, and the next training where that is what to do."""

import logging
from typing import Any, ClassVar, Literal

import yaml

from llmops_monitor.load import capture_uri, read_log
from llmops_monitor.remediate_config import RemediateConfig
from llmops_monitor.remedies import Advice, advise, moved_signals, read_table, table_digest
from llmops_shared.contracts.dataset import DatasetManifest, StageCount
from llmops_shared.contracts.document import Contract, Part, Reference
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.platform import ACTION_VERDICTS
from llmops_shared.contracts.report import Report
from llmops_shared.documents import document_uri, follow, read_document, refer, sha256, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of, join

logger = logging.getLogger(__name__)


class Remediation(Contract):
    """What a report led to."""

    file_name: ClassVar[str] = "remediation.json"

    kind: Literal["remediation"] = "remediation"
    """What this document is."""
    name: str
    """Name of the remediation."""
    report: Reference
    """The report."""
    advice: list[Advice]
    """Every signal that moved, and what to do; empty when none did."""
    counts: list[StageCount]
    """How the retraining set was cleaned; empty when none was built."""
    num_rows: int
    """Rows of the retraining set."""
    parts: dict[str, Part]
    """`rows` (JSON lines that preprocess reads), `preprocess` and `train` (YAML); empty without a retraining set."""
    commands: list[str]
    """The next pipeline, a line a command; empty without a retraining set."""
    started: str | None
    """Who took the start, with the event's id; None: nothing was started."""


def run(config: RemediateConfig, github_token: str | None = None) -> Remediation:
    """Reads the report, asks the table, builds the retraining set and starts or prints the next pipeline."""
    place = document_uri(config.report, Report)
    report = read_document(place, Report)
    kept = finished(config, Remediation, inputs_of(config, place))
    if kept is not None:
        return kept
    check_start(config, report, github_token)

    advice = advise(moved_signals(report, config.alpha), read_table(config.table))
    for item in advice:
        logger.info("%s (%s): %s: %s", item.signal, item.moved, item.remedy, item.why)
    if not advice:
        logger.info("%s: no signal moved to the worse", place)
    parts: dict[str, Part] = {}
    counts: list[StageCount] = []
    num_rows, commands, started = 0, [], None
    if config.retrain == "always" or (config.retrain == "auto" and any(item.remedy == "retrain" for item in advice)):
        rows, counts = build(config, report, place)
        num_rows = len(rows)
        if not rows:
            raise LlmopsError(
                f"{place}: no row is left to train on ({described(counts)}); have people answer first "
                f"(llmops-monitor sample, llmops-monitor review), then give review=QUEUE"
            )
        parts["rows"] = store_part(config.out, "rows.jsonl", "".join(row.model_dump_json() + "\n" for row in rows).encode())
        for name, settings in next_configs(config).items():
            parts[name] = store_part(config.out, f"{name}.yaml", yaml.safe_dump(settings, sort_keys=False).encode())
        commands = next_commands(config, evaluation_of(config, report, place))
        started = start(config, report, github_token)
    for command in commands if started is None else ():
        logger.info("next: %s", command)

    document = Remediation(
        name=config.name, report=refer(place, Report, config.out), advice=advice, counts=counts, num_rows=num_rows, parts=parts,
        commands=commands, started=started,
    )  # fmt: skip
    write_document(config.out, document)
    return document


def inputs_of(config: RemediateConfig, place: str) -> dict[str, str]:
    """Digests of what the result depends on: with another answer of a person in the queue it is another result."""
    from llmops_shared.review.location import queue_for

    inputs = {"report": digest_of(place, Report), "table": table_digest(config.table)}
    if config.review is not None:
        answers = [answer.model_dump_json() for _, found in queue_for(config.review).reviewed() for answer in found]
        inputs["review"] = sha256("\n".join(answers).encode())
    return inputs


def build(config: RemediateConfig, report: Report, place: str) -> "tuple[list[Any], list[StageCount]]":
    """The cleaned rows: what people said first, then low-scoring answers the shadow did better."""
    from llmops_monitor.labels import training_rows
    from llmops_monitor.retraining import clean, held_out_texts, low_scoring
    from llmops_shared.review.location import queue_for

    rows = training_rows(queue_for(config.review).reviewed(), config.licence) if config.review is not None else []
    log = exchanges_of(config, report, place)
    if log is not None and "rows" in report.parts:
        found: dict[tuple[str, bool], Exchange] = {(item.request_id, item.shadow): item for item in read_log(log).exchanges}
        rows += [
            row.model_copy(update={"licence": config.licence}) for row in low_scoring(report, place, config.metric, config.max_score, found)
        ]
    cleaned = clean(rows, held_out_texts(evaluation_of(config, report, place)))
    logger.info("%d rows to train on of %d: %s", len(cleaned.rows), len(rows), described(cleaned.counts))
    return cleaned.rows, cleaned.counts


def exchanges_of(config: RemediateConfig, report: Report, place: str) -> str | None:
    """The exchange log; None where neither the settings nor the report name one."""
    if config.exchanges is not None or "endpoint" not in report.subjects:
        return config.exchanges
    uri, endpoint = follow(report.subjects["endpoint"], folder_of(place), Endpoint)
    return capture_uri(uri, endpoint)


def evaluation_of(config: RemediateConfig, report: Report, place: str) -> str:
    """The evaluation's dataset. Raises LlmopsError where none is known, for then nothing could be kept out of the training."""
    if config.evaluation is not None:
        return config.evaluation
    if "dataset" not in report.subjects:
        raise LlmopsError(
            f"{place}: names no dataset; give evaluation=, the dataset the next model is judged on, so that its text stays out"
        )
    return follow(report.subjects["dataset"], folder_of(place), DatasetManifest)[0]


def next_configs(config: RemediateConfig) -> dict[str, dict[str, Any]]:
    """Settings of the next preprocessing and training, by verb."""
    source = {"kind": "jsonl", "uri": join(config.out, "rows.jsonl"), "licence": config.licence}
    return {
        "preprocess": {"name": config.name, "view": "chat", "source": source},
        "train": {"name": config.name, "method": "lora", "lora": {"rank": 16, "alpha": 32}, "num_epochs": 3},
    }


def next_commands(config: RemediateConfig, evaluation: str) -> list[str]:
    """The lines that run them; capitals stand for what was not given."""
    tokenizer = config.tokenizer or evaluation
    dataset, tuned = join(config.out, "dataset"), join(config.out, "run")
    return [
        f"llmops-preprocess run --config {join(config.out, 'preprocess.yaml')} tokenizer={tokenizer} out={dataset}",
        f"llmops-train run --config {join(config.out, 'train.yaml')} dataset={dataset} model={config.model or 'MODEL'} out={tuned}",
        f"llmops-train evaluate run={tuned} dataset={evaluation} out={join(config.out, 'evaluation')}",
        f"llmops-train package run={tuned} evaluation={join(config.out, 'evaluation')} out={join(config.out, 'package')}",
    ]


def check_start(config: RemediateConfig, report: Report, github_token: str | None) -> None:
    """Raises LlmopsError where the start asked for could not have an effect."""
    if config.start == "github" and not github_token:
        raise LlmopsError("start=github needs a token that may write to the repository in GITHUB_TOKEN")
    if config.start == "eventbridge" and report.verdict not in ACTION_VERDICTS:
        raise LlmopsError(
            f"start=eventbridge: the platform's rule starts the pipeline for the verdicts {', '.join(ACTION_VERDICTS)}, and "
            f"{config.report} says {report.verdict}; use start=github or start=print"
        )


def start_request(config: RemediateConfig, verdict: str) -> dict[str, Any] | None:
    """The exact request that starts the pipeline, without credentials; None for `print`."""
    from llmops_monitor.eventbridge import put_events_request
    from llmops_monitor.github import dispatch_request

    payload = {"report": config.report, "rows": join(config.out, "rows.jsonl"), "preprocess": join(config.out, "preprocess.yaml")}
    payload |= {"train": join(config.out, "train.yaml"), "name": config.name}
    match config.start:
        case "eventbridge":
            return put_events_request(config.environment or "", verdict, payload, config.event_bus)
        case "github":
            return dispatch_request(config.repository or "", payload)
        case "print":
            return None


def start(config: RemediateConfig, report: Report, github_token: str | None) -> str | None:
    """Starts the pipeline; who took it, or None when its commands are only printed."""
    from llmops_monitor.eventbridge import put_events
    from llmops_monitor.github import dispatch

    request = start_request(config, str(report.verdict))
    if request is None:
        return None
    if config.start == "eventbridge":
        return f"eventbridge {put_events(request)}"
    dispatch(request, github_token or "")
    return f"github {config.repository}"


def rehearse(config: RemediateConfig) -> dict[str, Any]:
    """What `--dry-run` tells: the advice, the commands and the exact request; nothing is written or sent."""
    report = read_document(document_uri(config.report, Report), Report)
    advice = advise(moved_signals(report, config.alpha), read_table(config.table))
    return {
        "advice": [item.model_dump() for item in advice],
        "commands": next_commands(config, config.evaluation or "EVALUATION"),
        "request": start_request(config, str(report.verdict)),
    }


def described(counts: list[StageCount]) -> str:
    """The stages in words."""
    return ", ".join(f"{count.stage}: {count.rows_in} to {count.rows_out}" for count in counts) or "no row was found"
