"""Labels from people, back in rows; and the rows to ask people about next."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from llmops_preprocess.active_config import ChooseConfig, LabelsConfig, SimulateConfig
from llmops_preprocess.ground_truth import Label, read_labels, read_rows, with_labels
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import Sampled, single_label
from llmops_shared.review.location import queue_for
from llmops_shared.review.queue import Reviewed
from llmops_shared.store import store_for

logger = logging.getLogger(__name__)


def read_back(config: LabelsConfig) -> None:
    """Writes the rows that have labels."""
    if config.queue is not None:
        labels = [label for item in queue_for(config.queue).reviewed() for label in answered(item)]
    else:
        assert config.manifest is not None
        labels = read_labels(config.manifest, config.attribute)
    rows = list(read_rows(config.rows))
    found = list(with_labels(rows, labels, config.min_confidence))
    if not found:
        raise LlmopsError(f"rows {config.rows}: none of its {len(rows)} rows has a label of confidence {config.min_confidence:g} or more")
    write_lines(config.out, found)
    logger.info("wrote %d of %d rows with their labels to %s", len(found), len(rows), config.out)


def answered(reviewed: Reviewed) -> Iterator[Label]:
    """What most people said of a row, with their share; of equally many the first by name."""
    row_id = reviewed.item.metadata.get("row_id")
    said = Counter({answer.reviewer: answer.label for answer in reviewed.answers}.values())
    if row_id is not None and said:
        name = min(said, key=lambda label: (-said[label], label))
        yield Label(row_id, name, said[name] / said.total(), by_people=True)


def choose_rows(config: ChooseConfig) -> None:
    """Chooses rows and puts them where people are asked."""
    known = [] if config.labelled is None else list(read_labelled(config.labelled))
    known_ids = {row["id"] for row in known}
    pool = [row for row in read_rows(config.rows) if row["id"] not in known_ids]
    if not pool:
        raise LlmopsError(f"rows {config.rows}: all of its rows have a label already, or there are none")
    chosen = [pool[place] for place in places(pool, known, config)]
    if config.out is not None:
        write_lines(config.out, chosen)
        logger.info("wrote %d rows to %s", len(chosen), config.out)
    if config.queue is not None:
        sampled: Sampled = "random" if config.strategy == "random" else "uncertainty"
        items = [
            single_label(
                [Message(role="user", content=config.question)], "text", row["text"], sampled, config.question, config.labels,
                metadata={"row_id": row["id"]},
            )
            for row in chosen
        ]  # fmt: skip
        logger.info("queued %d items, %d of them new, at %s", len(items), queue_for(config.queue).add(items), config.queue.uri)


def places(pool: Sequence[dict[str, str]], known: Sequence[dict[str, Any]], config: ChooseConfig) -> list[int]:
    """Places in the pool of the rows to ask about."""
    import numpy as np

    from llmops_preprocess.active_learning import Learner, choose

    random = np.random.default_rng(config.seed)
    if config.strategy == "random":
        return [int(place) for place in random.permutation(len(pool))[: config.count]]
    texts = [row["text"] for row in (*known, *pool)]
    learner = Learner(texts, config.seed)
    try:
        learner.learn(range(len(known)), [row["metadata"]["label"] for row in known])
    except ValueError as error:
        raise LlmopsError(f"labelled {config.labelled}: {error}; label more rows with strategy=random first") from error
    return [text - len(known) for text in choose(config.strategy, learner, range(len(known), len(texts)), config.count, random)]


def show_curves(config: SimulateConfig) -> None:
    """Prints the learning curve of each strategy and the labels each needs, as JSON on stdout."""
    from llmops_preprocess.active_learning import Point, labels_needed, simulate

    rows = list(read_labelled(config.labelled))
    wanted = config.start + config.step * config.rounds
    if len(rows) < 2 * wanted:
        raise LlmopsError(
            f"labelled {config.labelled}: {len(rows)} rows; half are held out, so {2 * wanted} are needed for {wanted} labels"
        )
    texts, labels = [row["text"] for row in rows], [row["metadata"]["label"] for row in rows]
    found = dict[str, dict[str, Any]]()
    for strategy in config.strategies:
        try:
            curves = [simulate(texts, labels, strategy, config.start, config.step, config.rounds, seed) for seed in range(config.seeds)]
        except ValueError as error:
            raise LlmopsError(f"labelled {config.labelled}: {error}; begin with a larger start") from error
        points = [Point(at[0].num_labels, sum(point.accuracy for point in at) / len(at)) for at in zip(*curves, strict=True)]
        curve = [[point.num_labels, round(point.accuracy, 4)] for point in points]
        found[strategy] = {"labels_needed": labels_needed(points, config.accuracy), "curve": curve}
        logger.info("%s: accuracy %.3f with %d labels", strategy, points[-1].accuracy, points[-1].num_labels)
    sys.stdout.write(json.dumps({"accuracy": config.accuracy, "strategies": found}, indent=2) + "\n")


def read_labelled(uri: str) -> Iterator[dict[str, Any]]:
    """Rows with a label. Raises LlmopsError for one without."""
    for number, row in enumerate(read_rows(uri), start=1):
        labelled: dict[str, Any] = row
        if not isinstance(labelled.get("metadata"), dict) or not isinstance(labelled["metadata"].get("label"), str):
            raise LlmopsError(f"{uri} line {number}: has no label in metadata.label; `llmops-preprocess labels` writes such rows")
        yield labelled


def write_lines(uri: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    store_for(uri).write(uri, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
