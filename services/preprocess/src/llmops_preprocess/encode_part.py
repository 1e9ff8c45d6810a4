"""What a worker does second: the records of a part that stay, as rows and as tokens, split by split."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.facts import read_array, store_array
from llmops_preprocess.near_duplicates import mix
from llmops_preprocess.output import row_line
from llmops_preprocess.parts import part_uri, read_records, scratch, writing
from llmops_preprocess.read_part import total
from llmops_preprocess.record import Record, count
from llmops_preprocess.splits import NAMES
from llmops_preprocess.tokenize import Tokens, tokenize
from llmops_preprocess.tokenizer import DatasetTokenizer, open_tokenizer
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.store import store_for

ENCODED = "encoded.json"


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """A part to tokenize."""

    folder: str
    """Where the parts are."""
    number: int
    """Number of the part."""
    codes: NDArray[np.int8]
    """Of each record the number of its split, -1 where it is dropped."""
    tokenizer: str
    """Folder of the tokenizer, which every worker can read."""
    config: PreprocessConfig
    """How."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a part became."""

    number: int
    """Number of the part."""
    count: StageCount
    """Rows in and out."""
    num_rows: dict[str, int]
    """Rows of each split."""
    num_tokens: dict[str, int]
    """Tokens of each split."""


ENCODED_TYPE = TypeAdapter(Encoded)


def encode_part(task: EncodeTask) -> Encoded:
    """Writes rows, ids, lengths, order keys and answers of each split, then the summary, and returns it."""
    tokenizer = opened(task.tokenizer, task.config.tokenizer or "trained here")
    places = read_array(task.folder, task.number, "places")
    counts, num_rows, num_tokens = [count("tokenize", 0, 0, Counter())], dict[str, int](), dict[str, int]()
    with scratch(task.folder) as place:
        for code, name in enumerate(NAMES):
            if not (task.codes == code).any():
                continue
            with SplitFiles(place, name) as split:
                for batch in read_records(part_uri(task.folder, task.number, "rows.arrow"), task.codes == code):
                    kept, tokens, of_batch = tokenize([record for _, record in batch], tokenizer, task.config)
                    counts.append(of_batch)
                    number_of = {id(record): number for number, record in batch}
                    split.add(kept, tokens, places[[number_of[id(record)] for record in kept]], task.config)
            num_rows[name], num_tokens[name] = split.store(task, place)
    encoded = Encoded(task.number, total(counts), num_rows, num_tokens)
    uri = part_uri(task.folder, task.number, ENCODED)
    store_for(uri).write(uri, ENCODED_TYPE.dump_json(encoded))
    return encoded


class SplitFiles:
    """Rows and tokens of one split of a part, written a batch at a time."""

    def __init__(self, place: Path, name: str) -> None:
        self.name, self.num_rows, self.keys = name, 0, list[NDArray[np.uint64]]()
        self.lengths, self.answers = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
        self.paths = place / f"{name}.jsonl", place / f"{name}.ids"
        self.rows, self.ids = (path.open("wb") for path in self.paths)

    def __enter__(self) -> "SplitFiles":
        return self

    def __exit__(self, *error: object) -> None:
        with writing(self.paths[0].parent), self.rows, self.ids:
            pass

    def add(self, records: list[Record], tokens: Tokens, places: NDArray[np.uint64], config: PreprocessConfig) -> None:
        """A batch."""
        with writing(self.paths[0]):
            self.rows.writelines(row_line(record, config.view) for record in records)
        with writing(self.paths[1]):
            self.ids.write(tokens.ids.astype(np.uint32).data)
        self.num_rows += len(records)
        self.lengths.append(tokens.lengths)
        self.keys.append(mix(places + mix(np.full(1, config.seed, dtype=np.uint64))))
        if tokens.answers is not None:
            ends = np.cumsum(tokens.lengths)
            self.answers.append(np.add.reduceat(tokens.answers.astype(np.int64), ends - tokens.lengths) if len(ends) else ends)

    def store(self, task: EncodeTask, place: Path) -> tuple[int, int]:
        """Puts the files among the parts; how many rows and tokens they hold."""
        for path in self.paths:
            uri = part_uri(task.folder, task.number, path.name)
            store_for(uri).write(uri, path)
        arrays: dict[str, NDArray[Any]] = {"lengths": joined(self.lengths, np.int64), "keys": joined(self.keys, np.uint64)}
        if self.answers:
            arrays["answers"] = joined(self.answers, np.int64)
        for name, array in arrays.items():
            store_array(part_uri(task.folder, task.number, f"{self.name}.{name}.npy"), array, place)
        return self.num_rows, int(arrays["lengths"].sum())


def joined(arrays: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    """One array of all."""
    return np.concatenate([np.zeros(0, dtype=kind), *arrays])


@functools.lru_cache(maxsize=1)
def opened(uri: str, origin: str) -> DatasetTokenizer:
    """The tokenizer, opened once a process."""
    return open_tokenizer(store_for(uri).fetch(uri), origin)


def read_encoded(folder: str, number: int) -> Encoded:
    """The summary of a part that is encoded."""
    uri = part_uri(folder, number, ENCODED)
    return ENCODED_TYPE.validate_json(store_for(uri).read(uri))
