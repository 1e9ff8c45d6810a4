"""Benchmark files on this machine: which tasks of the harness they serve, and their rows."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_shared.errors import LlmopsError

Row = dict[str, Any]

GROUPS = {
    "glue": ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "wnli"),
    "super_glue": ("boolq", "cb", "copa", "multirc", "record", "sglue_rte", "wic", "wsc"),
    "arc": ("arc_easy", "arc_challenge"),
}
ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz")
MMLU, BBH = "mmlu_", "bbh_fewshot_"


def as_label(row: Row) -> Row:
    """BoolQ's own file says true or false where SuperGLUE counts."""
    return row if "label" in row else {**row, "label": int(row["answer"])}


@dataclass(frozen=True)
class LocalTask:
    """Where the splits of a task are: split to the file's name without its ending, at best with its folder."""

    files: Mapping[str, tuple[str, ...]]
    change: Callable[[Row], Row] = dict


def glue(name: str, folder: str = "glue") -> LocalTask:
    """Train and validation of a GLUE or SuperGLUE task."""
    change = as_label if name == "boolq" else dict
    own = (f"{folder}_{name}", f"{folder}/{name}/", name)
    return LocalTask({"validation": tuple(f"{one}_validation" for one in own), "train": tuple(f"{one}_train" for one in own)}, change)


TASKS: dict[str, LocalTask] = {
    **{name: glue(name) for name in GROUPS["glue"]},
    **{name: glue(name.removeprefix("sglue_"), "superglue") for name in GROUPS["super_glue"]},
    "arc_easy": LocalTask({"test": ("arc_easy_test", "ARC-Easy-Test"), "validation": ("arc_easy_validation", "ARC-Easy-Dev")}),
    "arc_challenge": LocalTask(
        {"test": ("arc_challenge_test", "ARC-Challenge-Test"), "validation": ("arc_challenge_validation", "ARC-Challenge-Dev")}
    ),
    "piqa": LocalTask({"validation": ("piqa_validation",)}),
    "openbookqa": LocalTask({"test": ("openbookqa_test",), "validation": ("openbookqa_validation",)}),
    "winogrande": LocalTask({"validation": ("winogrande_validation",)}),
    "lambada_openai": LocalTask({"test": ("lambada_test", "lambada_openai_test")}),
    "lambada_standard": LocalTask({"test": ("lambada_test", "lambada_standard_test")}),
    "gsm8k": LocalTask({"test": ("gsm8k/test", "gsm8k_test"), "train": ("gsm8k/train", "gsm8k/train-sample", "gsm8k_train")}),
    "humaneval": LocalTask({"test": ("humaneval",)}),
    "mbpp": LocalTask({"test": ("mbpp", "mbpp_release_v1")}),
}


def task_of(name: str) -> LocalTask | None:
    """The files of a task; None for one that is read from the hub only."""
    if name.startswith(MMLU):
        subject = name.removeprefix(MMLU)
        files = {
            split: (f"mmlu_{split}", f"{split}/{subject}_{short}")
            for split, short in (("test", "test"), ("validation", "val"), ("dev", "dev"))
        }
        return LocalTask(files)
    if name.startswith(BBH):
        short = name.removeprefix(BBH)
        return LocalTask({"test": (f"tasks/{short}", f"bbh/{short}")})
    return TASKS.get(name)


def expand(names: list[str], folder: Path) -> list[str]:
    """Groups as their members that have a file; single tasks stay. Raises LlmopsError for a group without any."""
    found: list[str] = []
    for name in names:
        members = [name]
        if name in ("mmlu", "bbh"):
            members = mmlu_subjects(folder) if name == "mmlu" else bbh_tasks(folder)
        elif name in GROUPS:
            members = [member for member in GROUPS[name] if has_rows(folder, TASKS[member])]
        if not members:
            raise LlmopsError(
                f"benchmarks.data {folder}: has no file of {name}; put its files there, or leave {name} out of benchmarks.tasks"
            )
        found.extend(member for member in members if member not in found)
    return found


def mmlu_subjects(folder: Path) -> list[str]:
    """The tasks of MMLU whose rows are here."""
    together = find_file(folder, ("mmlu_test", "mmlu_validation"))
    if together is not None:
        return [MMLU + subject for subject in sorted({row["subject"] for row in read_rows(together)})]
    return sorted({MMLU + path.name.split("_test.")[0] for path in folder.rglob("test/*_test.csv*")})


def bbh_tasks(folder: Path) -> list[str]:
    """The tasks of BIG-bench hard whose rows are here."""
    paths = [path for path in folder.rglob("*") if path.name.endswith(ENDINGS) and path.parent.name in ("tasks", "bbh")]
    return sorted(BBH + path.name.split(".")[0] for path in paths)


def has_rows(folder: Path, task: LocalTask) -> bool:
    """Whether there is something to be judged on."""
    return any(find_file(folder, names) is not None for split, names in task.files.items() if split != "train")


def load(folder: Path, name: str) -> dict[str, list[Row]]:
    """Rows by split. Raises LlmopsError when the task has no rows here, or no form we know."""
    task = task_of(name)
    if task is None:
        raise LlmopsError(
            f"benchmarks.tasks: {name} is not known as local files; leave benchmarks.data out, or choose of {', '.join(TASKS)}"
        )
    splits: dict[str, list[Row]] = {}
    for split, names in task.files.items():
        path = find_file(folder, names)
        if path is None:
            continue
        rows = [task.change(row) for row in read_rows(path)]
        if name.startswith(MMLU) and rows and "subject" in rows[0]:
            rows = [row for row in rows if row["subject"] == name.removeprefix(MMLU)]
        if rows:
            splits[split] = rows
    if not set(splits) - {"train", "dev"}:
        wanted = ", ".join(one for split, names in task.files.items() if split not in ("train", "dev") for one in names)
        raise LlmopsError(f"benchmarks.data {folder}: has no rows of {name}; looked for {wanted} with {', '.join(ENDINGS)}")
    return splits


def find_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first file by these names, in any folder below; upper and lower case are the same."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.endswith(ENDINGS)]
    for name in names:
        for path in paths:
            stem = "/" + str(path.relative_to(folder.parent)).lower().replace("eval-", "").split(".json")[0].split(".csv")[0]
            if stem.endswith("/" + name.lower()):
                return path
    return None


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of JSON lines, of a JSON file (BIG-bench hard keeps them under `examples`), or of MMLU's CSV."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        if ".csv" in path.name:
            for question, *choices, answer in csv.reader(file):
                yield {"question": question, "choices": choices, "answer": "ABCD".index(answer)}
        elif ".jsonl" in path.name:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise LlmopsError(f"{path}:{number}: is no JSON ({error})") from error
        else:
            content = json.load(file)
            yield from content["examples"] if isinstance(content, dict) else content
