"""Which signals of a report moved, and what the table says to do about each."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from llmops_shared.contracts.document import Value
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError

RemedyName = Literal["guard", "reindex", "prompt", "capacity", "retrain"]

TABLE = Path(__file__).with_name("remedies.yaml")

STEPS: dict[RemedyName, str] = {
    "guard": "add a guard rule for it to the endpoint, then `llmops-serve deploy` the next generation",
    "reindex": "llmops-preprocess index dataset=NEW_DATASET out=NEW_INDEX, then `llmops-serve deploy` with index=NEW_INDEX",
    "prompt": "change the system prompt or chat template, then compare it as a shadow: llmops-serve shadow, llmops-monitor compare",
    "capacity": "roll back to the previous Endpoint document, or change weight, instances or limits in the next one",
    "retrain": "run the commands below: they build the dataset, tune an adapter, evaluate and package it",
}


class Rule(Value):
    """A line of the table."""

    signals: list[str] = Field(min_length=1)
    """Globs of signal names."""
    remedy: RemedyName
    """What to do."""
    why: str
    """The reason, for the one who has to decide."""


class Advice(Value):
    """What to do about one signal."""

    signal: str
    """Name of the metric that moved."""
    moved: str
    """How far, in words."""
    remedy: RemedyName
    """What to do."""
    why: str
    """The table's reason."""
    step: str
    """The next command or change."""


def table_digest(path: str | None) -> str:
    """Digest of the table's rules: a comment does not change it."""
    return sha256(json.dumps([rule.model_dump() for rule in read_table(path)]).encode())


def read_table(path: str | None) -> list[Rule]:
    """The shipped table, or one's own. Raises LlmopsError that names the file and the line's fault."""
    place = Path(path) if path is not None else TABLE
    try:
        return TypeAdapter(list[Rule]).validate_python(yaml.safe_load(place.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LlmopsError(f"table={place}: cannot be read ({error}); copy {TABLE} and edit the copy") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(name) for name in first["loc"])
        raise LlmopsError(f"table={place}: {where}: {first['msg']}; see {TABLE} for the form") from error


def moved_signals(report: Report, alpha: float) -> dict[str, str]:
    """The signals that moved, with how far in words.

    A drift report's are those whose corrected p-value is below `alpha`; a comparison's those whose interval lies wholly on the bad side;
    a history's those with an alarm in the newest window.
    """
    figures = {item.name: item for item in report.measurements}
    found = {}
    for name, item in figures.items():
        kind, _, signal = name.partition("/")
        if kind == "p_value" and report.verdict == "drift" and item.value < alpha:
            shift = figures.get(f"shift/{signal}")
            found[signal] = f"corrected p = {item.value:.2g}" + ("" if shift is None else f", {shift.value:+.2f} sd")
        elif kind == "alarm":
            found.setdefault(signal, f"{item.value:.4g}, unlike its past")
        elif kind in ("difference", "ratio") and is_worse(item, 0.0 if kind == "difference" else 1.0):
            found[signal] = f"{kind} {item.value:.3g} (interval {item.low:.3g} to {item.high:.3g})"
    return found


def is_worse(item: Measurement, same: float) -> bool:
    """Whether the whole interval is on the bad side of `same`."""
    if item.low is None or item.high is None:
        return False
    return item.high < same if item.better == "higher" else item.better == "lower" and item.low > same


def advise(signals: dict[str, str], table: Sequence[Rule]) -> list[Advice]:
    """The table's answer to each signal. Raises LlmopsError for one that no line fits."""
    advice = []
    for signal, moved in signals.items():
        rule = next((rule for rule in table if any(fnmatchcase(signal, glob) for glob in rule.signals)), None)
        if rule is None:
            raise LlmopsError(f"{signal} moved, and no line of the table fits it; end the table with signals: ['*']")
        advice.append(Advice(signal=signal, moved=moved, remedy=rule.remedy, why=rule.why, step=STEPS[rule.remedy]))
    return advice
