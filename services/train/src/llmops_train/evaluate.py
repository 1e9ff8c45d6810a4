"""`llmops-train evaluate`: measures a model on rows it has not seen, and writes a Report."""

import json
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_shared.contracts import DatasetManifest, ModelPackage, Reference, Report, TrainingRun
from llmops_shared.documents import document_uri, follow, read_document, refer, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of, relative
from llmops_shared.tracking import tracked
from llmops_train.config import EvaluateConfig
from llmops_train.source import Source, fetch_tokenizer, identify, open_source, read_settings

if TYPE_CHECKING:
    from llmops_train.evaluation.measures import Judged

logger = logging.getLogger(__name__)

ROLES = {"run": "run", "package": "package", "directory": "model"}


def evaluate(config: EvaluateConfig) -> Report:
    """Judges `config.run` on a split; a finished report is kept."""
    place = document_uri(config.dataset, DatasetManifest)
    manifest = read_document(place, DatasetManifest)
    source = identify(config.run)
    inputs = {"dataset": digest_of(place, DatasetManifest), "run": source.sha256}
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept
    check_request(config, place, manifest)

    from llmops_train.evaluation.measures import measure  # these load torch, which a kept report need not
    from llmops_train.evaluation.page import evaluation_page

    name, parameters = describe_subject(source)
    judged, tokens_per_second = judge_source(config, place, manifest, source)
    measurements = measure(judged, config.measures, tokens_per_second, config.seed)
    for item in measurements:
        logger.info("%s: %s %.4g, %d rows", name, item.name, item.value, item.num_rows)

    with tracked(config.tracking, "evaluate", f"{name}-evaluation") as tracking, tempfile.TemporaryDirectory() as scratch:
        settings = config.model_dump(include={"split", "limit", "perplexity_rows", "max_new_tokens"})
        tracking.parameters({**parameters, **settings, "evaluated_sha256": source.sha256[:12]})
        tracking.dataset(manifest, place, inputs["dataset"], "evaluation")
        tracking.metrics({item.name: item.value for item in measurements})
        num_answered = sum(row.answer is not None for row in judged)
        summary = f"{name} on split {config.split} of {manifest.name}: {len(judged)} rows scored, {num_answered} answered."
        html = Path(scratch) / "report.html"
        html.write_text(evaluation_page(f"Evaluation of {name}", summary, measurements, judged), encoding="utf-8")
        tracking.artifact(html)
        rows = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in judged).encode()
        document = Report(
            report="evaluation",
            name=f"{name}-evaluation",
            subjects={
                ROLES[source.kind]: Reference(uri=relative(source.place, config.out), sha256=source.sha256),
                "dataset": refer(place, DatasetManifest, config.out),
            },
            measurements=measurements,
            verdict=None,
            reasons=[],
            parts={"rows": store_part(config.out, "rows.jsonl", rows), "html": store_part(config.out, "report.html", html)},
            mlflow_run_id=tracking.run_id,
        )
    write_document(config.out, document)
    return document


def check_request(config: EvaluateConfig, place: str, manifest: DatasetManifest) -> None:
    """Raises LlmopsError for a split that models learn from, and for measures a text dataset cannot give."""
    if config.split == "train":
        raise LlmopsError("split train: models learn from it, so figures on it say nothing; judge on test or validation")
    answers = [name for name in config.measures if name != "perplexity"]
    if manifest.view == "text" and answers:
        raise LlmopsError(f"{place}: is a text dataset, which has no answers to judge ({', '.join(answers)}); set measures=[perplexity]")


def describe_subject(source: Source) -> tuple[str, dict[str, Any]]:
    """Name of what is judged, and the parameters that MLflow's comparison page shows beside the figures."""
    if source.kind == "directory":
        return Path(source.given).name, {"method": "none", "model": source.given}
    place = source.place
    if source.kind == "package":
        place, run = follow(read_document(place, ModelPackage).run, folder_of(place), TrainingRun)
    else:
        run = read_document(place, TrainingRun)
    settings = read_settings(place)
    wanted = ("optimizer", "architecture", "lora", "batch_sequences", "num_epochs", "max_steps", "max_tokens")
    chosen = {key: settings[key] for key in wanted if settings.get(key) is not None}
    parent = run.parent or run.base_model
    numbers = {"num_parameters": run.num_parameters, "num_trainable_parameters": run.num_trainable_parameters}
    return run.name, {"method": run.method, "parent": parent.sha256[:12] if parent else "", **numbers, **chosen}


def judge_source(config: EvaluateConfig, place: str, manifest: DatasetManifest, source: Source) -> tuple[list["Judged"], float | None]:
    """Loads model and rows, and judges them."""
    import torch

    from llmops_train.evaluation.judge import judge
    from llmops_train.evaluation.questions import read_rows
    from llmops_train.model import check_fit, load_model, load_tokenizer

    rows = read_rows(place, manifest, config.split)
    torch.set_num_threads(config.num_threads or torch.get_num_threads())
    files = open_source(source)
    model, tokenizer = load_model(files).eval(), load_tokenizer(fetch_tokenizer(place, manifest))
    check_fit(model, tokenizer.get_vocab(), load_tokenizer(files.tokenizer).get_vocab(), 1, source.given)
    return judge(model, tokenizer, rows, config, manifest.sequence_length)
