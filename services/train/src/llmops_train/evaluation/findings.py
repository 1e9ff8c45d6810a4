"""Everything an evaluation finds out, whatever is judged."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_shared.contracts import DatasetManifest, Part
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import store_part
from llmops_train.evaluation.config import EvaluateConfig
from llmops_train.evaluation.endpoint import HttpModel
from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.judged import Judgement, judge_endpoint, judge_model, judge_predictions
from llmops_train.evaluation.measures import Judged, figures, score_rows
from llmops_train.evaluation.questions import read_rows
from llmops_train.evaluation.subject import Subject
from llmops_train.metrics.scores import Scores


@dataclass
class Findings:
    """What was found."""

    rows: list[Judged]
    scores: list[Scores]
    """Every measure row by row."""
    measurements: list[Measurement]
    """The figures, in the order they are shown."""
    reasons: list[str] = field(default_factory=list)
    """What a reader should know, a sentence each."""
    files: dict[str, tuple[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """Further parts: role, file name and JSON lines."""
    benchmark_texts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """(row id, text) of each benchmark, to look for in the training data."""

    def texts(self) -> dict[str, list[tuple[str, str]]]:
        """(row id, text) of everything judged, by benchmark; our own rows under `rows`."""
        own = {"rows": [(row.row_id, f"{row.prompt}\n{row.reference}") for row in self.rows]} if self.rows else {}
        return {**own, **self.benchmark_texts}

    def summary(self) -> str:
        """What was done, in words."""
        parts = []
        if self.rows:
            num_answered = sum(row.answer is not None for row in self.rows)
            parts.append(f"{len(self.rows)} rows scored, {num_answered} answered")
        if self.benchmark_texts:
            parts.append(f"{len(self.benchmark_texts)} benchmark tasks, {sum(map(len, self.benchmark_texts.values()))} items")
        return ", ".join(parts)

    def store_parts(self, out: str) -> dict[str, Part]:
        """Writes the further parts."""
        return {
            role: store_part(out, name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
            for role, (name, lines) in self.files.items()
        }


def find(
    config: EvaluateConfig, subject: Subject, place: str | None, manifest: DatasetManifest | None, names: Sequence[str], journal: Journal
) -> Findings:
    """Loads what is judged and finds everything that was asked for."""
    findings = Findings([], [], [])
    if config.predictions is not None:
        from llmops_train.evaluation.predictions import read_predictions

        predictions = read_predictions(config.predictions)
        if predictions.pairs is not None:
            add(findings, judge_predictions(predictions.row_ids, predictions.prompts, predictions.pairs, config, names), names, config)
        predictions.add_ranking(findings, names, config)
    else:
        with contextlib.ExitStack() as stack:
            if config.endpoint is not None:
                answerer: Any = stack.enter_context(HttpModel(config.endpoint))
            else:
                answerer = open_model(config, subject, place, manifest)
            if manifest is not None and place is not None:
                add(findings, judge_subject(answerer, config, place, manifest, names, journal), names, config)
            if config.benchmarks is not None:
                from llmops_train.benchmarks.run import run_benchmarks

                run_benchmarks(findings, answerer, config.benchmarks, journal, config.seed)
    if config.judge is not None:
        from llmops_train.judging.run import judge_answers

        judge_answers(findings, config, journal)
    if config.review is not None:
        from llmops_train.evaluation.review import review_answers

        review_answers(findings, config, subject.name)
    return findings


def add(findings: Findings, judgement: Judgement, names: Sequence[str], config: EvaluateConfig) -> None:
    """Adds judged rows and their measures."""
    text_names = [name for name in names if name not in ("recall_at_k", "mrr", "ndcg_at_k")]
    scores = score_rows(judgement.rows, text_names, judgement.texts)
    num_answered = sum(row.answer is not None for row in judgement.rows)
    findings.rows.extend(judgement.rows)
    findings.scores.extend(scores)
    findings.measurements.extend(figures(scores, text_names, judgement.tokens_per_second, num_answered, config.seed))


def open_model(config: EvaluateConfig, subject: Subject, place: str | None, manifest: DatasetManifest | None) -> tuple[Any, Any]:
    """A loaded model with its tokenizer."""
    import torch

    from llmops_train.model import check_fit, load_model, load_tokenizer
    from llmops_train.source import fetch_tokenizer, open_source

    assert subject.source is not None
    torch.set_num_threads(config.num_threads or torch.get_num_threads())
    files = open_source(subject.source)
    model = load_model(files).eval()
    own = load_tokenizer(files.tokenizer)
    if manifest is None or place is None:
        return model, own
    tokenizer = load_tokenizer(fetch_tokenizer(place, manifest))
    check_fit(model, tokenizer.get_vocab(), own.get_vocab(), 1, subject.source.given)
    return model, tokenizer


def judge_subject(
    answerer: Any, config: EvaluateConfig, place: str, manifest: DatasetManifest, names: Sequence[str], journal: Journal
) -> Judgement:
    """Judges model or endpoint on the split."""
    rows = read_rows(place, manifest, config.split)
    if isinstance(answerer, HttpModel):
        return judge_endpoint(answerer, rows, config, names, journal)
    model, tokenizer = answerer
    return judge_model(model, tokenizer, rows, config, names, manifest.sequence_length, journal)
