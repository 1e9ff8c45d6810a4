"""The drift gate: false alarms, power, speed beside Evidently's in the same run; alarms on real metrics; metrics to MLflow.

python tests/benchmarks/bench_monitor_drift.py            # LLMOPS_TEST_DATA=folder adds LLMDrift and the alarms on CloudWatch metrics
"""

import csv
import gzip
import math
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmops_monitor.alarms import FIVE_MINUTES, HOURS, alarms
from llmops_monitor.classifier import separate
from llmops_monitor.config import DriftConfig
from llmops_monitor.descriptors import Text, describe, signature_of
from llmops_monitor.gate import Limits, judge_profiles
from llmops_monitor.judgement import judge, num_permutations
from llmops_monitor.metric_queue import MetricQueue
from llmops_monitor.profile import profile_table
from llmops_shared.config import Tracking
from llmops_shared.tracking import tracked
from support.labelled_metrics import LabelledMetric, found_and_false, labelled_metrics

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
    """Labelled windows of real CloudWatch metrics in which an alarm goes off, and alarms outside of any, by points and by means of hours."""
    lines = [
        "| metric | labelled windows | found, points | false alarms | found, hours | false alarms | days |",
        "|---|---|---|---|---|---|---|",
    ]
    totals = {"tuned": np.zeros(6), "held out": np.zeros(6)}
    scores = {"tuned": np.zeros(2), "held out": np.zeros(2)}
    for place, (name, (metric, days)) in enumerate(labelled_metrics(folder).items()):
        half = ("tuned", "held out")[place % 2]  # the rule's figures were chosen on every other file
        found, false, places = found_and_false(metric, FIVE_MINUTES)
        hours = found_and_false(metric.hourly(), HOURS)
        row = (len(metric.windows), found, false, *hours[:2], days)
        totals[half] += row
        scores[half] += nab_score(metric, places)
        lines.append(f"| {name} ({half}) | " + " | ".join(f"{figure:.0f}" for figure in row) + " |")
    both = {**totals, "all": totals["tuned"] + totals["held out"]}
    lines += [f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in row) + " |" for name, row in both.items()]
    scored = {**scores, "all": scores["tuned"] + scores["held out"]}
    told = ", ".join(f"{name} {50 * (score / windows + 1):.0f}" for name, (score, windows) in scored.items())
    return [*lines, "", f"NAB's standard profile over these files: {told}.", "", *calm_lines()]


def nab_score(metric: LabelledMetric, places: list[int]) -> tuple[float, int]:
    """Points and labelled windows by the standard profile of Numenta's benchmark (Lavin and Ahmad 2015): early in a window counts most."""
    learning = min(int(0.15 * len(metric.values)), 750)  # nothing counts before
    points, scored = 0.0, [window for window in metric.windows if window[1] >= learning]
    for low, high in scored:
        hits = [place for place in places if low <= place <= high and place >= learning]
        points += sigmoid((hits[0] - high - 1) / (high - low + 1)) / sigmoid(-1.0) if hits else -1.0
    for place in places:
        if place >= learning and not any(low <= place <= high for low, high in metric.windows):
            before = [window for window in metric.windows if window[1] < place]
            points += 0.11 * (sigmoid((place - before[-1][1]) / (before[-1][1] - before[-1][0])) if before else -1.0)
    return points, len(scored)


def sigmoid(position: float) -> float:
    """1 at the left edge of a window, 0 at its right edge, -1 far behind it."""
    return -1.0 if position >= 3 else 2 / (1 + math.exp(5 * position)) - 1


def calm_lines() -> list[str]:
    """Alarms on made series without an event, a month of a metric, and what is found of a strange hour and of a lasting shift."""

    def autoregressive(draw: np.random.Generator, num_points: int) -> np.ndarray:
        values, noise = np.zeros(num_points), draw.normal(size=num_points)
        for place in range(1, num_points):
            values[place] = 0.9 * values[place - 1] + noise[place]
        return 100 + values

    def daily(draw: np.random.Generator, num_points: int) -> np.ndarray:
        return draw.poisson(200 * (1 + 0.6 * np.sin(np.arange(num_points) * math.tau / 24))).astype(float)

    makers: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
        "normal": lambda draw, num_points: draw.normal(100, 5, num_points),
        "log-normal, sigma 0.5": lambda draw, num_points: np.exp(draw.normal(0, 0.5, num_points)),
        "autoregressive, 0.9": autoregressive,
        "a daily cycle of counts": daily,
        "share of 5 % of 60": lambda draw, num_points: draw.binomial(60, 0.05, num_points) / 60,
        "share of 0.3 % of 60": lambda draw, num_points: draw.binomial(60, 0.003, num_points) / 60,
    }
    lines = [
        "| hours without an event | false alarms a month | found: one hour off by 6 sd | found within 12 hours: a shift by 3 sd |",
        "|---|---|---|---|",
    ]
    num_draws, num_points, place = 20, 24 * 56, 800
    for name, make in makers.items():
        counts = np.zeros(3)
        for seed in range(num_draws):
            calm = make(np.random.default_rng(seed), num_points)
            spike, shift = calm.copy(), calm.copy()
            spike[place] += 6 * calm.std()
            shift[place:] += 3 * calm.std()
            errors = np.sqrt(calm * (1 - calm) / 60) if name.startswith("share") else None
            counts[0] += len(alarms(calm, HOURS, errors))
            for column, series, reach in ((1, spike, HOURS.num_points), (2, shift, 12)):
                counts[column] += any(
                    place <= alarm.place < place + reach
                    for alarm in alarms(series[: place + 12], HOURS, None if errors is None else errors[: place + 12])
                )
        lines.append(f"| {name} | {counts[0] / num_draws / 2:.2f} | {counts[1]:.0f} of {num_draws} | {counts[2]:.0f} of {num_draws} |")
    return lines


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
