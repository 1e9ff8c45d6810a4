"""The stages in order, from parts that were read to parts that are encoded."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.chats import make_chats
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.encode_part import ENCODED, Encoded, EncodeTask, encode_part, read_encoded
from llmops_preprocess.engine import Engine
from llmops_preprocess.facts import store_array
from llmops_preprocess.parts import PartSummary, RowsFile, finished_parts, part_uri, read_records, scratch
from llmops_preprocess.progress import Progress
from llmops_preprocess.record import Record
from llmops_preprocess.select_records import select_records, split_codes
from llmops_preprocess.splits import NAMES, place_of, wanted
from llmops_preprocess.tokenizer import DatasetTokenizer
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of each split."""

    folder: str
    """Where the parts with them are."""
    codes: list[NDArray[np.int8]]
    """For each part, of each record the number of its split, -1 where it was dropped."""
    num_rows: dict[str, int]
    """Rows of each split that is wanted."""


def select(
    folder: str, summaries: Sequence[PartSummary], counts: Sequence[StageCount], config: PreprocessConfig, engine: Engine
) -> tuple[Selection, list[StageCount]]:
    """The documents worth keeping, each once, or the questions made from them. Raises LlmopsError when none is left."""
    for count in counts[1:]:
        report(count)
        check_left(count)
    masks, stages = select_records(folder, summaries, config, engine.shuffle, engine.run)
    more = []
    started = time.perf_counter()
    for count in stages:
        report(count, time.perf_counter() - started)
        check_left(count)
        more.append(count)
        started = time.perf_counter()
    codes = [split_codes(folder, number, mask, config) for number, mask in enumerate(masks)]
    if config.view == "chat" and config.source.kind == "python_stdlib":
        folder, chat_codes, count = chat_part(folder, codes, config)
        report(count)
        codes, more = [chat_codes], [*more, count]
    found = np.bincount(np.concatenate(codes) + 1, minlength=len(NAMES) + 1)
    num_rows = {name: int(found[NAMES.index(name) + 1]) for name in wanted(config.splits)}
    check_splits(num_rows, config)
    return Selection(folder, codes, num_rows), more


def chat_part(folder: str, codes: Sequence[NDArray[np.int8]], config: PreprocessConfig) -> tuple[str, NDArray[np.int8], StageCount]:
    """A part of the questions about the library's entries, in the splits of these; the library fits in memory."""
    documents = list[tuple[int, Record]]()
    for number, of_part in enumerate(codes):
        for batch in read_records(part_uri(folder, number, "rows.arrow"), of_part >= 0):
            documents += [(int(of_part[index]), record) for index, record in batch]
    code_of = {id(document): code for code, document in documents}
    pairs, count = make_chats([document for _, document in documents], config.questions)
    target = join(folder, "chats")
    with scratch(folder) as place:
        with RowsFile(place / "rows.arrow") as rows:
            rows.write([row for _, row in pairs])
        uri = part_uri(target, 0, "rows.arrow")
        store_for(uri).write(uri, place / "rows.arrow")
        store_array(part_uri(target, 0, "places.npy"), np.array([place_of(row.text) for _, row in pairs], dtype=np.uint64), place)
    return target, np.array([code_of[id(document)] for document, _ in pairs], dtype=np.int8), count


def train_texts(selection: Selection, config: PreprocessConfig) -> Iterator[Record]:
    """The train split, or a fair sample of it: what the tokenizer is trained on."""
    train = NAMES.index("train")
    characters = 0
    uris = [part_uri(selection.folder, number, "rows.arrow") for number in range(len(selection.codes))]
    size = sum(entry.size_bytes for uri in uris for entry in store_for(uri).entries(uri))
    share = min(1.0, config.tokenizer_sample_characters / max(1, size))
    for uri, codes in zip(uris, selection.codes, strict=True):
        mine = codes == train
        if share < 1:
            # a constant seed: of which records the sample is depends on nothing but their number in the part
            mine &= np.random.default_rng(0).random(len(codes)) < share
        if not mine.any():
            continue
        for batch in read_records(uri, mine):
            for _, record in batch:
                characters += len(record.text)
                if characters > config.tokenizer_sample_characters:
                    return
                yield record


def encode(selection: Selection, tokenizer: DatasetTokenizer, config: PreprocessConfig, engine: Engine) -> list[Encoded]:
    """Every part as rows and tokens; those an earlier run finished are kept."""
    folder = selection.folder
    done = finished_parts(folder, len(selection.codes), ENCODED)
    place = str(tokenizer.folder) if config.engine == "local" else join(config.out, "tokenizer")
    tasks = [EncodeTask(folder, number, codes, place, config) for number, codes in enumerate(selection.codes) if number not in done]
    found = {number: read_encoded(folder, number) for number in done}
    with Progress("tokenized", len(tasks)) as progress:
        for item in engine.run(encode_part, tasks):
            found[item.number] = item
            progress.step()
    return [found[number] for number in range(len(selection.codes))]


def check_left(count: StageCount) -> None:
    """Raises LlmopsError when a stage let nothing through."""
    if count.rows_out == 0:
        raise LlmopsError(f"no document is left after stage {count.stage!r} (dropped: {dropped(count)}); relax its settings")


def check_splits(num_rows: dict[str, int], config: PreprocessConfig) -> None:
    """Raises LlmopsError when a split that was asked for has no rows."""
    for name, number in num_rows.items():
        if not number:
            others = ", ".join(f"{other}: {found}" for other, found in num_rows.items() if other != name)
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
