"""The drift gate: false alarms, power, speed beside Evidently's in the same run; alarms on real metrics; metrics to MLflow.

python tests/benchmarks/bench_monitor_drift.py            # LLMOPS_TEST_DATA=folder adds LLMDrift and the alarms on CloudWatch metrics
"""

import csv
import gzip
import json
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from llmops_monitor.alarms import alarms
from llmops_monitor.classifier import separate
from llmops_monitor.config import DriftConfig
from llmops_monitor.descriptors import Text, describe, signature_of
from llmops_monitor.gate import Limits, judge_profiles
from llmops_monitor.judgement import judge, num_permutations
from llmops_monitor.metric_queue import MetricQueue
from llmops_monitor.profile import profile_table
from llmops_shared.config import Tracking
from llmops_shared.tracking import tracked

README = Path(__file__).resolve().parents[2] / "services" / "monitor" / "README.md"
LIMITS = Limits()
Columns = dict[str, np.ndarray]


def columns(draw: np.random.Generator, num_rows: int, num_columns: int, shift: float = 0.0, shifted: int = 0) -> Columns:
    """Normal columns, the first `shifted` of them moved by `shift` standard deviations."""
    return {f"c{place}": draw.normal(shift * (place < shifted), size=num_rows) for place in range(num_columns)}


def drifted(reference: Columns, current: Columns, seed: int = 0) -> bool:
    """The gate's verdict, from raw columns."""
    return judge_profiles(profile_table(reference, seed=seed), profile_table(current, seed=seed + 1), LIMITS).verdict == "drift"


def calibration() -> list[str]:
    """False alarms among draws without drift, and how many shifts are found."""
    lines = [
        "| reference, current | columns | false alarms of 1,000 | found of 1,000: one column by 0.3 sd | found: half of the columns |",
        "|---|---|---|---|---|",
    ]
    for sizes in ((500, 500), (4000, 500), (20_000, 500)):
        for num_columns in (1, 10, 20):
            counts = []
            num_draws = 1000 if sizes[0] < 20_000 else 200
            for shifted in (0, 1, max(1, num_columns // 2)):
                draw = np.random.default_rng([*sizes, num_columns, shifted])
                hits = sum(
                    drifted(columns(draw, sizes[0], num_columns), columns(draw, sizes[1], num_columns, 0.3, shifted), seed)
                    for seed in range(num_draws)
                )
                counts.append(round(hits * 1000 / num_draws))
            lines.append(f"| {sizes[0]:,} and {sizes[1]} rows | {num_columns} | " + " | ".join(map(str, counts)) + " |")
    return lines


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def beside_evidently() -> list[str]:
    """CPU seconds of both on the same columns, in turns, and whether they call the same columns drifted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        draw = np.random.default_rng(0)
        reference, current = columns(draw, 20_000, 10), columns(draw, 20_000, 10, 0.3, 5)
        definition = DataDefinition(numerical_columns=list(reference))
        verdicts: dict[str, set[str]] = {}

        def theirs() -> None:
            frames = [Dataset.from_pandas(pd.DataFrame(table), data_definition=definition) for table in (current, reference)]
            metrics = Report([DataDriftPreset()]).run(*frames).dict()["metrics"]
            # by its default for so many rows, the distance of Wasserstein in standard deviations, 0.1 and more is drift
            values = {str(item["config"]["column"]): float(item["value"]) for item in metrics if "column" in item.get("config", {})}
            verdicts["theirs"] = {name for name, value in values.items() if value >= 0.1}

        def ours() -> None:
            judgement = judge_profiles(profile_table(reference, seed=0), profile_table(current, seed=1), LIMITS)
            verdicts["ours"] = {found[1] for reason in judgement.reasons if (found := re.match(r"(c\d+): ", reason))}

        ours(), theirs()  # imports and first calls are no part of it
        times = [(cpu_s(theirs), min(cpu_s(ours) for _ in range(5))) for _ in range(3)]
    evidently, gate = min(time for time, _ in times), min(time for _, time in times)
    million = {name: draw.normal(size=1_000_000) for name in (f"c{place}" for place in range(20))}
    profile = profile_table(million, seed=0)
    begin = time.perf_counter()
    judge_profiles(profile, profile_table({name: values[::-1] for name, values in million.items()}, seed=1), LIMITS)
    seconds = time.perf_counter() - begin
    return [
        (
            f"20,000 rows x 10 columns, half of them moved by 0.3 sd: Evidently's DataDriftPreset {evidently:.2f} CPU s, the gate {gate:.4f} CPU s, profiles of "
            f"both tables included: {evidently / gate:.0f} times as fast; the same columns are called drifted: {'yes' if verdicts['ours'] == verdicts['theirs'] else 'no'} "
            f"({len(verdicts['ours'])} and {len(verdicts['theirs'])} of 10)."
        ),
        f"1,000,000 rows x 20 columns against a saved profile: {seconds:.2f} s. A column of a profile takes {len(profile.to_bytes()) / 20 / 1024:.1f} KB.",
    ]


def mlflow_line() -> str:
    """Time the caller spends on a metric, and until it is in a local database."""
    with tempfile.TemporaryDirectory() as scratch, tracked(Tracking(uri=f"sqlite:///{scratch}/mlflow.db"), "monitor", "bench") as run:
        values = [({f"metric{number}": 1.0 for number in range(50)}, step) for step in range(40)]
        begin = time.perf_counter()
        with MetricQueue(run) as queue:
            for figures, step in values:
                queue.metrics(figures, step)
            handed = time.perf_counter() - begin
        sent = time.perf_counter() - begin
    return f"2,000 metrics to MLflow: {handed / 2000 * 1e6:.2f} microseconds a metric for the caller, {sent / 2000 * 1e6:.0f} until they are in the database."


def alarm_lines(folder: Path) -> list[str]:
    """Labelled windows of real CloudWatch metrics in which an alarm goes off, and alarms outside of any."""
    windows = json.loads((folder / "anomaly_windows.json").read_text())
    lines = ["| metric | labelled windows found | false alarms | days |", "|---|---|---|---|"]
    totals = {"tuned": np.zeros(4), "held out": np.zeros(4)}
    for place, (name, listed) in enumerate(sorted(windows.items())):
        half = ("tuned", "held out")[place % 2]  # the rule's figures were chosen on every other file
        with gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        places = alarms([float(row["value"]) for row in rows])
        moments = [rows[place]["timestamp"] for place in places]
        found = sum(any(low[:19] <= moment <= high[:19] for moment in moments) for low, high in listed)
        false = sum(not any(low[:19] <= moment <= high[:19] for low, high in listed) for moment in moments)
        first, last = (datetime.fromisoformat(rows[place]["timestamp"]) for place in (0, -1))
        days = (last - first).total_seconds() / 86400
        totals[half] += (found, len(listed), false, days)
        lines.append(f"| {name.removesuffix('.csv')} ({half}) | {found} of {len(listed)} | {false} | {days:.0f} |")
    sums = {**totals, "all": totals["tuned"] + totals["held out"]}
    return [*lines, *(f"| {name} | {row[0]:.0f} of {row[1]:.0f} | {row[2]:.0f} | {row[3]:.0f} |" for name, row in sums.items())]


NUM_SPLITS = 100


def llmdrift_lines(folder: Path) -> list[str]:
    """Each model of LLMDrift in March against itself in June, and random halves of its March against each other."""
    config = DriftConfig.model_validate({"out": "unused", "exchanges": "unused", "text": "response", "min_rows": 15})
    lines = [
        "| answers | model | March and June | first test | corrected p | classifier's corrected p | false alarms in halves of March |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("SENSITIVEQ_EVAL", "LEETCODE_EASY_EVAL"):
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for model, months in (("gpt-3.5-turbo", ("0301", "0613")), ("gpt-4", ("0314", "0613"))):
            march, june = (
                [
                    Text(row["answer"], len(row["answer"].split()), signature_of(row["query"]))
                    for row in rows
                    if row["model"].endswith(f"{model}-{month}")
                ]
                for month in months
            )
            verdict, p_values = decided(march, june, config)
            classifier = p_values.pop("classifier_auc")
            first = min(p_values, key=p_values.__getitem__)
            halves = [np.random.default_rng(seed).permutation(len(march)) for seed in range(NUM_SPLITS)]
            false = sum(
                decided([march[place] for place in half[::2]], [march[place] for place in half[1::2]], config)[0] == "drift"
                for half in halves
            )
            lines.append(
                f"| {name} | {model} | {len(march)} and {len(june)}: {verdict} | `{first}` | {p_values[first]:.1g} | {classifier:.1g} "
                f"| {false} of {NUM_SPLITS} |"
            )
    return lines


def decided(reference: list[Text], current: list[Text], config: DriftConfig) -> tuple[str, dict[str, float]]:
    """The verdict of `drift` on two windows of texts, and each test's corrected p."""
    values = describe(reference, current)
    judgement = judge(values, separate(reference, current, num_permutations(config, len(values) + 1), 0.95, config.seed), config)
    return judgement.verdict, {
        figure.name.removeprefix("p_value/"): figure.value for figure in judgement.measurements if "p_value/" in figure.name
    }


def main() -> None:
    """Prints all, and with --write puts it between the README's marks."""
    folder = os.environ.get("LLMOPS_TEST_DATA")
    sections = {"calibration": "\n".join(calibration()), "speed": "\n\n".join([*beside_evidently(), mlflow_line()])}
    if folder:
        sections["llmdrift"] = "\n".join(llmdrift_lines(Path(folder) / "drift-llmdrift"))
        sections["alarms"] = "\n".join(alarm_lines(Path(folder) / "cloudwatch-nab"))
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    for name, section in sections.items():
        print(f"\n{section}")
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, section=section: f"{match[1]}{section}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    if "--write" in sys.argv:
        README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
