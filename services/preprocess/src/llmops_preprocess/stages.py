"""The stages in order, from records that were read to the rows of each split."""

import logging
import time
from collections.abc import Sequence
from functools import partial

from llmops_preprocess.batches import refine_rows
from llmops_preprocess.chats import make_chats
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.duplicates import drop_exact_duplicates
from llmops_preprocess.near_duplicates import drop_near_duplicates
from llmops_preprocess.record import Record
from llmops_preprocess.splits import split_of, wanted
from llmops_preprocess.web_quality import RowStage
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)


def refine(records: Sequence[Record], config: PreprocessConfig, source_sha256: str) -> tuple[list[Record], list[StageCount]]:
    """The documents worth keeping, each once. Raises LlmopsError when none is left."""
    started = time.perf_counter()
    refined = refine_rows(records, config, source_sha256)
    for count in refined.counts:
        report(count)
        check_left(count)
    logger.info("row stages took %.1f s", time.perf_counter() - started)
    kept, counts = refined.records, refined.counts
    stages: tuple[RowStage, ...] = (drop_exact_duplicates, partial(drop_near_duplicates, config=config.near_duplicates))
    for stage in stages:
        started = time.perf_counter()
        kept, count = stage(kept)
        report(count, time.perf_counter() - started)
        check_left(count)
        counts = [*counts, count]
    return kept, counts


def check_left(count: StageCount) -> None:
    """Raises LlmopsError when a stage let nothing through."""
    if count.rows_out == 0:
        raise LlmopsError(f"no document is left after stage {count.stage!r} (dropped: {dropped(count)}); relax its settings")


def make_rows(documents: Sequence[Record], config: PreprocessConfig) -> tuple[dict[str, list[Record]], list[StageCount]]:
    """The rows of each split: the documents themselves, or the questions made from them, which follow their document."""
    pairs = [(document, document) for document in documents]
    counts = []
    if config.view == "chat" and config.source.kind == "python_stdlib":
        pairs, count = make_chats(documents, config.questions)
        report(count)
        counts.append(count)
    rows: dict[str, list[Record]] = {name: [] for name in wanted(config.splits)}
    for document, row in pairs:
        rows[split_of(document.content, config.splits)].append(row)
    check_splits(rows, config)
    return rows, counts


def check_splits(rows: dict[str, list[Record]], config: PreprocessConfig) -> None:
    """Raises LlmopsError when a split that was asked for has no rows."""
    for name, records in rows.items():
        if not records:
            others = ", ".join(f"{other}: {len(found)}" for other, found in rows.items() if other != name)
            raise LlmopsError(
                f"split {name!r} is empty (splits.{name}={getattr(config.splits, name):g}; {others or 'no other split'}); "
                f"give it a larger share, give the source more documents, or set splits.{name}=0"
            )


def report(count: StageCount, seconds: float | None = None) -> None:
    """One line of log for a stage."""
    took = "" if seconds is None else f" in {seconds:.1f} s"
    logger.info("%s: %d rows in, %d out%s; dropped: %s", count.stage, count.rows_in, count.rows_out, took, dropped(count))


def dropped(count: StageCount) -> str:
    """The reasons with their numbers, as words."""
    return ", ".join(f"{number} {reason}" for reason, number in count.dropped.items()) or "none"
