"""Runs benchmark tasks, keeps finished ones, and turns what the harness found into scores row by row."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join
from llmops_train.benchmarks.code import CODE, code_task
from llmops_train.benchmarks.harness import check_examples, load_tasks, measure
from llmops_train.benchmarks.local import BBH, MMLU, expand, load
from llmops_train.evaluation.config import BenchmarksConfig
from llmops_train.evaluation.endpoint import HttpModel
from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.measures import measurement
from llmops_train.evaluation.progress import Progress
from llmops_train.metrics.classes import one_hot
from llmops_train.metrics.optional import need, version_of
from llmops_train.metrics.scores import Scores, join_scores
from llmops_train.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from llmops_train.evaluation.findings import Findings

logger = logging.getLogger(__name__)

GENERATED_TOKENS = 256  # the harness's own default
SAMPLES = 3  # of each task, for the page


def run_benchmarks(findings: "Findings", answerer: Any, config: BenchmarksConfig, journal: Journal, seed: int) -> None:
    """Adds the figures of every task."""
    need("lm_eval", "benchmarks", "benchmarks")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every default
    with open_tasks(config) as tasks:
        lm = open_lm(answerer, config)
        progress = Progress("measured", len(tasks), "tasks")
        done = []
        for name, spec in tasks:
            kept = journal.get(f"benchmark-{name}")
            if kept is None:
                kept = run_task(name, spec, lm, config, journal)
                journal.put(f"benchmark-{name}", kept)
                progress.advance(1)
            else:
                progress.keep(1)
            done.append(kept)
    add_results(findings, done, seed)


@contextlib.contextmanager
def open_tasks(config: BenchmarksConfig) -> Iterator[list[tuple[str, Any]]]:
    """(name, what the harness loads) of every task, and a sandbox where one is needed. Raises LlmopsError without one."""
    folder = None if config.data is None else Path(config.data)
    if folder is not None and not folder.is_dir():
        raise LlmopsError(f"benchmarks.data {folder}: is no folder; give one with benchmark files, or none to use the hub")
    names = list(dict.fromkeys(config.tasks)) if folder is None else expand(config.tasks, folder)
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox()) if set(names) & set(CODE) else None
        yield [(name, task_spec(name, folder, sandbox)) for name in names]


def task_spec(name: str, folder: Path | None, sandbox: Sandbox | None) -> Any:
    """A stock task of the harness, over local rows where there is a folder; its prompt is the harness's own."""
    from datasets import Dataset, load_dataset

    if name in CODE:
        assert sandbox is not None
        path, subset = ("openai/openai_humaneval", None) if name == "humaneval" else ("google-research-datasets/mbpp", "full")
        splits = load(folder, name) if folder is not None else {"test": list(load_dataset(path, subset, split="test"))}
        return {**code_task(name, splits, sandbox), "custom_dataset": lambda **_: {"test": Dataset.from_list(splits["test"])}}
    if folder is None:
        return name
    splits = load(folder, name)
    judged = "test" if "test" in splits else "validation"
    spec: dict[str, Any] = {
        "task": name,
        "custom_dataset": lambda **_: {split: Dataset.from_list(rows) for split, rows in splits.items()},
        "dataset_kwargs": None,
        "training_split": "train" if "train" in splits else None,
        "validation_split": None,
        "test_split": judged,
    }
    if name.startswith(MMLU):
        spec["fewshot_split"] = "dev" if "dev" in splits else None
    elif not name.startswith(BBH):
        spec["fewshot_split"] = "train" if "train" in splits else None
    return spec


def open_lm(answerer: Any, config: BenchmarksConfig) -> Any:
    """The harness's language model over ours, or over an endpoint."""
    if isinstance(answerer, HttpModel):
        from llmops_train.benchmarks.endpoint_lm import EndpointLM

        return EndpointLM(answerer)
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = answerer
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=config.batch_rows)


def run_task(name: str, spec: Any, lm: Any, config: BenchmarksConfig, journal: Journal) -> dict[str, Any]:
    """One task by the harness; answered items are kept in a file beside the report, where that is on this machine."""
    try:
        tasks = load_tasks(spec)
    except (ConnectionError, FileNotFoundError, KeyError, ValueError) as error:
        raise LlmopsError(f"benchmarks.tasks: {name} cannot be loaded ({str(error)[:200]}); give its files as benchmarks.data") from error
    longest = getattr(lm, "max_length", None)
    for task in tasks.values():
        check_examples(task, config.num_fewshot)
        options = task.config.generation_kwargs
        if longest is not None and options is not None:  # half of what the model takes is for the prompt
            options["max_gen_toks"] = min(int(options.get("max_gen_toks", GENERATED_TOKENS)), longest // 2)
    cache = None if urlsplit(journal.out).scheme else join(journal.out, f"{journal.prefix}-requests")
    found = measure(tasks, lm, config, cache)
    return {"results": [result for task in tasks for result in results_of(task, tasks[task], found)]}


def results_of(name: str, task: Any, found: Any) -> Iterator[dict[str, Any]]:
    """Every measure of a task, row by row, with what it takes to repeat it."""
    samples, totals = found["samples"][name], found["results"][name]
    prompt = json.dumps(
        {key: str(value) for key, value in task.config.to_dict().items() if key.startswith(("doc_to", "desc", "fewshot", "target"))}
    )
    details = {
        "benchmark": name,
        "num_fewshot": str(found["n-shot"][name]),
        "prompt_version": f"{found['versions'].get(name)}, sha256 {hashlib.sha256(prompt.encode()).hexdigest()[:12]}",
        "engine": f"lm-eval {version_of('lm-eval')}",
    }
    texts = {f"{name}/{sample['doc_id']}": text_of(task, sample["doc"]) for sample in samples}
    shown = [
        {
            "row_id": f"{name}/{sample['doc_id']}",
            "benchmark": name,
            "prompt": str(sample["arguments"][0][0])[-500:],
            "target": str(sample["target"])[:200],
            "answer": str(sample["filtered_resps"])[:300],
        }
        for sample in samples[:SAMPLES]
    ]
    for key, total in totals.items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr") or not isinstance(total, int | float):
            continue
        rows = [sample for sample in samples if sample["filter"] == filtered]
        values = [sample[metric] for sample in rows if metric in sample]
        label = f"{name}/{metric}" + ("" if filtered == "none" else f"/{filtered.replace('-', '_')}")
        table, formula, better = row_shares(metric, values)
        if table is None or len(values) != len(rows):
            continue
        yield {
            "name": label,
            "row_ids": [f"{name}/{sample['doc_id']}" for sample in rows],
            "table": table,
            "formula": formula,
            "better": better,
            "details": details,
            "total": total,
            "texts": texts,
            "shown": shown,
        }


def row_shares(metric: str, values: Sequence[Any]) -> tuple[list[Any] | None, str, str]:
    """Each row's share, the formula over their sums, and what is better; None for what is not made of rows."""
    if metric == "perplexity":
        return [(-float(value), 1.0) for value in values], "exp_ratio", "lower"
    if all(isinstance(value, bool | int | float | np.number) for value in values):
        return [[float(value)] for value in values], "mean", "higher"
    if metric in ("f1", "mcc") and all(isinstance(value, list | tuple) and len(value) == 2 for value in values):
        wanted, given = [str(value[0]) for value in values], [str(value[1]) for value in values]
        labels = sorted({*wanted, *given, "0", "1"})
        formula = "mcc" if metric == "mcc" else "f1_binary" if labels == ["0", "1"] else "f1_macro"
        return one_hot(wanted, given, labels).tolist(), formula, "higher"
    return None, "", ""


def text_of(task: Any, row: dict[str, Any]) -> str:
    """Question and answer of a row, to look for in the training data."""
    question = task.doc_to_text(row)
    return f"{question if isinstance(question, str) else json.dumps(row, ensure_ascii=False, default=str)} {task.doc_to_target(row)}"


def add_results(findings: "Findings", done: Sequence[dict[str, Any]], seed: int) -> None:
    """Adds scores, figures, texts and samples; MMLU and BIG-bench hard also as one figure."""
    found: list[tuple[Scores, dict[str, str]]] = []
    shown: list[dict[str, Any]] = []
    for result in (result for one in done for result in one["results"]):
        details = result["details"]
        signature = "|".join(f"{key}:{details[key]}" for key in ("engine", "num_fewshot", "prompt_version"))
        table = np.asarray(result["table"], dtype=np.float64).reshape(len(result["row_ids"]), -1)
        scores = Scores(result["name"], result["row_ids"], table, result["formula"], result["better"], signature)
        if not np.isclose(scores.value(), result["total"], rtol=1e-9, atol=1e-12):
            logger.warning("%s: the harness adds it up to %.6g in its own way, we to %.6g", scores.name, result["total"], scores.value())
        found.append((scores, details))
        if details["benchmark"] not in findings.benchmark_texts:
            findings.benchmark_texts[details["benchmark"]] = list(result["texts"].items())
            shown.extend(result["shown"])
    for group, start in (("mmlu", MMLU), ("bbh", BBH)):
        members = [pair for pair in found if pair[0].name.startswith(start) and pair[0].formula == "mean"]
        if len(members) > 1:
            metric = members[0][0].name.split("/", 1)[1]
            parts = [scores for scores, _ in members if scores.name.endswith(f"/{metric}")]
            whole = join_scores(parts)
            details = {**members[0][1], "benchmark": group, "prompt_version": f"{len(parts)} tasks", "tasks": str(len(parts))}
            found.append((Scores(f"{group}/{metric}", whole.row_ids, whole.table, "mean", whole.better, whole.signature), details))
    for scores, details in found:
        item = measurement(scores, seed)
        findings.scores.append(scores)
        findings.measurements.append(item.model_copy(update={"details": {**item.details, **details}}))
    findings.files["benchmark_samples"] = ("benchmark-samples.jsonl", shown)
