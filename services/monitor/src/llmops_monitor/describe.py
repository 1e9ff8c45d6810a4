"""`llmops-monitor describe`: every descriptor of every exchange of a window."""

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmops_monitor.load import asked, dead_letter, digest, log_of, read_log, select
from llmops_monitor.traffic_config import DescribeConfig
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import refer
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished

if TYPE_CHECKING:
    from llmops_monitor.profile import Table as Columns
    from llmops_monitor.rules.words import Exchanged
    from llmops_shared.statistics import Floats

logger = logging.getLogger(__name__)

CONFIDENCE = 0.95


def run(config: DescribeConfig) -> Report:
    """Reads the window, measures each exchange, and writes rows of figures without a word of text."""
    log = read_log(log_of(config.endpoint, config.exchanges))
    exchanges = select(log, config.select, "select")
    inputs = {"exchanges": digest(exchanges, log.broken)}
    subjects: dict[str, Reference] = {}
    if config.endpoint is not None:
        inputs["endpoint"] = digest_of(config.endpoint, Endpoint)
        subjects["endpoint"] = refer(config.endpoint, Endpoint, config.out)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.observe import chunk_texts, exchanged, observations
    from llmops_monitor.publish import Findings, publish
    from llmops_monitor.windowed import prices_of

    chunks = chunk_texts(config.index)
    views = [exchanged(exchange, chunks) for exchange in exchanges]
    columns = dict(observations(exchanges, views, prices_of(config.price)))
    remarks = judged(config, exchanges, views, columns)
    measurements = figures(columns) + repeated(views)
    reasons = [*shares(columns), *quality(exchanges, columns), *remarks]
    if log.broken:
        reasons.append(f"{len(log.broken)} broken lines of the log were left out; they are listed in dead_letter.jsonl.")
    logger.info("described %d exchanges", len(exchanges))
    summary = f"{len(exchanges)} exchanges of {asked(config.select)}, judged by {config.scorer}"
    page = render(f"Descriptors: {config.name}", summary, measurements, None, reasons, [language_table(columns), meaning_table()])
    files = {"html": ("report.html", page.encode()), "rows": ("rows.jsonl", rows(exchanges, columns))}
    if log.broken:
        files["dead_letter"] = ("dead_letter.jsonl", dead_letter(log.broken))
    if config.cloudwatch:
        from llmops_monitor.cloudwatch import put_metrics

        put_metrics(exchanges[0].endpoint, exchanges[-1].time, {figure.name: figure.value for figure in measurements})
    return publish(config, Findings("descriptors", config.name, subjects, measurements, None, reasons, files))


def judged(
    config: DescribeConfig, exchanges: Sequence[Exchange], views: Sequence["Exchanged"], columns: "dict[str, Sequence[object] | Floats]"
) -> list[str]:
    """Puts what a model says in the place of the rules' figures; says of how many exchanges."""
    if config.scorer == "rules":
        return []
    import numpy as np

    from llmops_monitor.profile import priority_of
    from llmops_monitor.scorers import open_scorer

    chosen = sorted(range(len(exchanges)), key=lambda place: priority_of(exchanges[place].request_id))[: config.max_judged]
    chosen.sort()
    found, num_unreadable = open_scorer(config).score([views[place] for place in chosen])
    for name, values in found.items():
        column = np.full(len(exchanges), math.nan)
        column[chosen] = values
        columns[name] = column
    remarks = [f"{', '.join(sorted(found))}: by scorer {config.scorer} on {len(chosen)} of {len(exchanges)} exchanges, not by rules."]
    if num_unreadable:
        remarks.append(f"{num_unreadable} answers of the judge could not be read; their figures are missing.")
    return remarks


def figures(columns: "Columns") -> list[Measurement]:
    """The mean of every column of numbers with its interval (Student's t for a mean over many rows)."""
    import numpy as np

    from llmops_monitor.signals import SIGNALS

    better = {signal.name: signal.better for signal in SIGNALS} | {"latency_ms": "lower", "first_token_ms": "lower", "error": "lower"}
    units = {signal.name: signal.unit for signal in SIGNALS} | {"latency_ms": "ms", "first_token_ms": "ms"}
    found = []
    for name, values in columns.items():
        if not isinstance(values, np.ndarray):
            continue
        present = values[np.isfinite(values)]
        if not len(present):
            continue
        reach = 1.96 * float(present.std(ddof=1)) / math.sqrt(len(present)) if len(present) > 1 else None
        mean = float(present.mean())
        found.append(
            Measurement(
                name=name, value=mean, low=None if reach is None else mean - reach, high=None if reach is None else mean + reach,
                confidence=CONFIDENCE if reach is not None else None, num_rows=len(present), better=better.get(name, "neither"),
                unit=units.get(name, ""),
            )
        )  # fmt: skip
    return found


def repeated(views: Sequence["Exchanged"]) -> list[Measurement]:
    """How alike the answers to one prompt are, over prompts answered twice or more."""
    from llmops_monitor.signals import REPEATABILITY, repeated_answers

    found = repeated_answers(views)
    if not found:
        return []
    value = sum(found.values()) / len(found)
    return [Measurement(name=REPEATABILITY, value=value, low=None, high=None, confidence=None, num_rows=len(found), better="higher")]


def shares(columns: "Columns") -> list[str]:
    """How many exchanges count as refusals, attacks and so on, by the thresholds of the table."""
    import numpy as np

    from llmops_monitor.signals import SIGNALS

    reasons = []
    for signal in SIGNALS:
        values = columns[signal.name]
        if signal.at is not None and isinstance(values, np.ndarray):
            present = values[np.isfinite(values)]
            count = int((present >= signal.at).sum())
            if count:
                reasons.append(
                    f"{signal.name}: {count} of {len(present)} exchanges ({count / len(present):.1%}) are at {signal.at:g} or above."
                )
    return reasons


def quality(exchanges: Sequence[Exchange], columns: "Columns") -> list[str]:
    """What is wrong with the data itself: repeats, empty texts, a clock that jumps."""
    from llmops_monitor.descriptors import signature_of

    prompts = Counter(signature_of(exchange.messages[-1].content) if exchange.messages else "" for exchange in exchanges)
    num_repeats = len(exchanges) - len(prompts)
    reasons = []
    if num_repeats:
        reasons.append(f"{num_repeats} of {len(exchanges)} requests repeat a prompt of the window ({num_repeats / len(exchanges):.1%}).")
    num_empty = sum(not exchange.response.strip() and exchange.error is None for exchange in exchanges)
    if num_empty:
        reasons.append(f"{num_empty} answers are empty though no error is recorded.")
    num_silent = prompts[""]
    if num_silent:
        reasons.append(f"{num_silent} requests have no word in their last message.")
    return reasons


def language_table(columns: "Columns") -> Table:
    """The languages of the prompts."""
    counts = Counter(columns["language"])
    listed = [[str(code), str(count), f"{count / counts.total():.1%}"] for code, count in counts.most_common(12)]
    return Table("Languages of the prompts", ("Language", "Exchanges", "Share"), listed)


def meaning_table() -> Table:
    """What each descriptor is."""
    from llmops_monitor.signals import SIGNALS

    return Table("What is measured", ("Descriptor", "Meaning", "By", "Source"), [[s.name, s.meaning, s.basis, s.source] for s in SIGNALS])


def rows(exchanges: Sequence[Exchange], columns: "Columns") -> bytes:
    """JSON lines of request id, variant and figures."""
    import numpy as np

    lines = []
    for place, exchange in enumerate(exchanges):
        row: dict[str, object] = {"request_id": exchange.request_id, "variant": exchange.variant}
        for name, values in columns.items():
            value = values[place]
            if isinstance(values, np.ndarray):
                number = float(values[place])
                value = round(number, 6) if math.isfinite(number) else None
            row[name] = value
        lines.append(json.dumps(row) + "\n")
    return "".join(lines).encode()
