"""`llmops-monitor sample`: which exchanges people look at: close calls, alarms and a random share."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from llmops_monitor.load import ExchangeLog, capture_uri, matches, read_log
from llmops_monitor.mask import mask as masked
from llmops_monitor.observe import exchanged
from llmops_monitor.pairs import failed, read_references
from llmops_monitor.review_config import SampleConfig
from llmops_monitor.signals import SIGNALS, measure
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange, Message
from llmops_shared.contracts.report import Report
from llmops_shared.contracts.review import TIE, ReviewItem
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import side_by_side, single_label
from llmops_shared.review.location import queue_for

logger = logging.getLogger(__name__)

KEPT_METADATA = ("row_id", "window")
"""What of a request's metadata goes into an item; the rest is the client's and may name people."""

Why = Literal["uncertainty", "alarm", "random"]
Scores = Mapping[str, tuple[float, float]]
"""Request id to the scores of production and shadow."""


def run(config: SampleConfig) -> None:
    """Reads the capture, chooses and queues."""
    items, counted = choice(config)
    num_new = queue_for(config.queue).add(items)
    logger.info("queued %d items, %d of them new: %s", len(items), num_new, counted)


def rehearse(config: SampleConfig) -> dict[str, Any]:
    """What `--dry-run` tells: what would be queued, and what AWS would be asked."""
    items, counted = choice(config)
    return {"items": len(items), "chosen": counted, "requests": queue_for(config.queue).requests(items)}


def choice(config: SampleConfig) -> tuple[list[ReviewItem], str]:
    """The items, and how many by which reason in words. Raises LlmopsError when there is nothing to choose from."""
    place = document_uri(config.endpoint, Endpoint)
    log = read_log(capture_uri(place, read_document(place, Endpoint)))
    served = {item.request_id: item for item in log.exchanges if not item.shadow and not failed(item)}
    if not served:
        raise LlmopsError(f"{log.uri}: holds no answer that went to a client, so there is nothing to review")
    scores, preferences = ({}, {}) if config.report is None else read_scores(config.report, config.metric)
    shadows = {item.request_id: item for item in log.exchanges if item.shadow and not failed(item)}
    chosen = choose(config, served, shadows, scores)
    references = references_of(config, log, chosen)
    items = [
        to_item(served[request_id], shadows.get(request_id), why, references, preferences.get(request_id), config.mask)
        for request_id, why in chosen.items()
    ]
    counted = {why: sum(found == why for found in chosen.values()) for why in ("uncertainty", "alarm", "random")}
    return items, ", ".join(f"{count} by {why}" for why, count in counted.items())


def choose(config: SampleConfig, served: Mapping[str, Exchange], shadows: Mapping[str, Exchange], scores: Scores) -> dict[str, Why]:
    """Request ids and why each was chosen. The random share is drawn first and from all, so that it stays unbiased."""
    pool = [item for item in served.values() if matches(item, config.select)]
    chosen: dict[str, Why] = dict.fromkeys(drawn((item.request_id for item in pool), config.num_random, config.seed), "random")
    low = {request_id for request_id, (production, _) in scores.items() if production <= config.max_score}
    alarmed = {item.request_id for item in served.values() if config.alarm is not None and matches(item, config.alarm)}
    raised = (low | alarmed | (flagged(pool) if config.rules else set())) & served.keys()
    chosen |= dict.fromkeys(drawn(sorted(raised - chosen.keys()), config.num_alarm, config.seed), "alarm")
    # one text twice is no close call; two texts with one score are the closest there is
    gaps = {
        request_id: abs(shadow - production)
        for request_id, (production, shadow) in scores.items()
        if request_id in served.keys() & shadows.keys() and served[request_id].response != shadows[request_id].response
    }
    close = sorted(gaps.keys() - chosen.keys(), key=lambda request_id: (gaps[request_id], request_id))
    return chosen | dict.fromkeys(close[: config.num_uncertain], "uncertainty")


def flagged(exchanges: Sequence[Exchange]) -> set[str]:
    """Request ids of what a rule calls an attack, a refusal, toxic, a leak, or the like."""
    limits = {signal.name: signal.at for signal in SIGNALS if signal.at is not None}
    columns = measure((exchanged(exchange, {}) for exchange in exchanges), [signal for signal in SIGNALS if signal.name in limits])
    raised = np.any([columns[name] >= limit for name, limit in limits.items()], axis=0)
    return {exchange.request_id for exchange, is_raised in zip(exchanges, raised, strict=True) if is_raised}


def drawn(request_ids: Iterable[str], number: int, seed: int) -> list[str]:
    """A fair sample that stays the same when others are added far away: by a hash of the id."""
    return sorted(request_ids, key=lambda request_id: hashlib.sha256(f"{seed}\0{request_id}".encode()).digest())[:number]


def read_scores(uri: str, metric: str) -> tuple[Scores, dict[str, str]]:
    """Scores by request, and the candidate a judge preferred where one was asked. Raises LlmopsError when the report has no such metric."""
    place = document_uri(uri, Report)
    report = read_document(place, Report)
    if "rows" not in report.parts:
        raise LlmopsError(f"{place}: has no rows with scores; name a report of llmops-monitor compare")
    scores: dict[str, tuple[float, float]] = {}
    preferences: dict[str, str] = {}
    for row in map(json.loads, fetch_part(place, report.parts["rows"]).read_text(encoding="utf-8").splitlines()):
        if f"production/{metric}" not in row:
            known = ", ".join(sorted({key.partition("/")[2] for key in row if "/" in key}))
            raise LlmopsError(f"{place}: its rows have no {metric}; correct metric= (has {known})")
        pair = (row[f"production/{metric}"], row[f"shadow/{metric}"])
        if None not in pair:
            scores[row["request_id"]] = pair
        if (label := judged(row)) is not None:
            preferences[row["request_id"]] = label
    return scores, preferences


def judged(row: Mapping[str, Any]) -> str | None:
    """What the judge preferred; None where it was not asked or gave no verdict."""
    share = row.get("shadow/judge_preference")
    return None if share is None else "shadow" if share > 0.5 else "production" if share < 0.5 else TIE


def references_of(config: SampleConfig, log: ExchangeLog, chosen: Mapping[str, Why]) -> Mapping[str, str]:
    """Reference answers by row id; empty without a dataset."""
    row_ids = {item.metadata["row_id"] for item in log.exchanges if item.request_id in chosen and "row_id" in item.metadata}
    return read_references(config.dataset, config.splits, row_ids) if config.dataset is not None else {}


def to_item(
    served: Exchange, shadow: Exchange | None, why: Why, references: Mapping[str, str], judge_label: str | None, mask: bool
) -> ReviewItem:
    """Two answers side by side where both models gave one and they differ, else a label for the one that was served."""
    shown = masked if mask else str
    messages: Sequence[Message] = [Message(role=message.role, content=shown(message.content)) for message in served.messages]
    reference = references.get(served.metadata.get("row_id", ""))
    reference = None if reference is None else shown(reference)
    known = {key: served.metadata[key] for key in KEPT_METADATA if key in served.metadata}
    metadata = {"request_id": served.request_id, "endpoint": served.endpoint, **known}
    if shadow is None or shadow.response == served.response:
        return single_label(messages, "production", shown(served.response), why, reference=reference, metadata=metadata)
    responses = {"production": shown(served.response), "shadow": shown(shadow.response)}
    return side_by_side(messages, responses, why, reference=reference, judge_label=judge_label, metadata=metadata)
