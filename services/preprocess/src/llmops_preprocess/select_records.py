"""Which records of which part stay, and in which split: duplicates are told over all parts, by facts, in the order of the source."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.config import NearDuplicates, PreprocessConfig
from llmops_preprocess.facts import read_array, store_array
from llmops_preprocess.near_duplicates import Positions, distinct, resembling, shared_buckets, shingle
from llmops_preprocess.parts import PartSummary, part_uri, read_records, scratch
from llmops_preprocess.record import count
from llmops_preprocess.splits import NAMES
from llmops_shared.contracts.dataset import StageCount

Mask = NDArray[np.bool_]


class Shuffle(Protocol):
    """Finds what is equal over all parts."""

    def repeated(self, folder: str, kept: Sequence[int]) -> Positions:
        """Positions of the records that say what an earlier one says."""

    def shared_buckets(self, folder: str, kept: Sequence[int]) -> tuple[Positions, Positions]:
        """Positions of records and the buckets they share with others."""


@dataclass(frozen=True, slots=True)
class ShingleTask:
    """Candidates of a part whose shingles are to be compared."""

    folder: str
    """Where the parts are."""
    number: int
    """Number of the part."""
    candidates: Mask
    """Which of its records."""
    width: int
    """Words of a shingle."""


def shingle_part(task: ShingleTask) -> int:
    """Writes the sorted shingles of the candidates one after another, and where each one's end; returns the number of the part."""
    sets, ends, end = list[NDArray[np.uint64]](), list[int](), 0
    uri = part_uri(task.folder, task.number, "rows.arrow")
    for batch in read_records(uri, task.candidates):
        shingles, starts = shingle([record.content for _, record in batch], task.width)
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            sets.append(distinct(shingles[start:stop]))
            end += len(sets[-1])
            ends.append(end)
    with scratch(task.folder) as place:
        empty = np.zeros(0, dtype=np.uint64)
        store_array(part_uri(task.folder, task.number, "shingles.npy"), np.concatenate([empty, *sets]), place)
        store_array(part_uri(task.folder, task.number, "ends.npy"), np.array(ends, dtype=np.int64), place)
    return task.number


class Sorting:
    """The shuffle of one machine: facts of all records sorted in memory, one band at a time; 16 and 8 bytes a record."""

    def repeated(self, folder: str, kept: Sequence[int]) -> Positions:
        keys = np.concatenate([read_array(folder, number, "exact") for number in range(len(kept))])
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal ones the first in the source comes first
        ranked = keys[order]
        repeats: Positions = order[1:][(ranked[1:] == ranked[:-1]).all(axis=1)]
        return repeats

    def shared_buckets(self, folder: str, kept: Sequence[int]) -> tuple[Positions, Positions]:
        files = [read_array(folder, number, "bands") for number in range(len(kept)) if kept[number]]
        num_bands = len(files[0]) if files else 0
        return shared_buckets(np.concatenate([file[band] for file in files]) for band in range(num_bands))


Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Runs a function over tasks, wherever; results come as they get done."""


def select_records(
    folder: str, summaries: Sequence[PartSummary], config: PreprocessConfig, shuffle: Shuffle, run: Run
) -> tuple[list[Mask], Iterator[StageCount]]:
    """For each part a mask of the records that stay, filled while the counts of the two stages are taken."""
    kept = [summary.num_kept for summary in summaries]
    bounds = np.concatenate([[0], np.cumsum(kept)])
    stays = np.ones(int(bounds[-1]), dtype=bool)
    masks = [stays[start:end] for start, end in itertools.pairwise(bounds)]

    def stages() -> Iterator[StageCount]:
        repeats = shuffle.repeated(folder, kept)
        stays[repeats] = False
        yield count("exact_duplicates", len(stays), int(stays.sum()), Counter({"exact_duplicate": len(repeats)} if len(repeats) else {}))
        before = int(stays.sum())
        if config.near_duplicates.threshold is not None:
            stays[near_duplicates_of(folder, kept, stays, bounds, config.near_duplicates, shuffle, run)] = False
        left = int(stays.sum())
        yield count("near_duplicates", before, left, Counter({"near_duplicate": before - left} if before > left else {}))

    return masks, stages()


def near_duplicates_of(
    folder: str, kept: Sequence[int], stays: Mask, bounds: Positions, near: NearDuplicates, shuffle: Shuffle, run: Run
) -> Positions:
    """Positions of the near duplicates among the records that stay."""
    assert near.threshold is not None
    positions, buckets = shuffle.shared_buckets(folder, kept)
    here = stays[positions]
    positions, buckets = positions[here], buckets[here]
    # a bucket that only exact duplicates shared holds one record now
    _, place, size = np.unique(buckets, return_inverse=True, return_counts=True)
    positions, buckets = positions[size[place] > 1], buckets[size[place] > 1]
    candidates = np.zeros(len(stays), dtype=bool)
    candidates[positions] = True
    tasks = [
        ShingleTask(folder, number, candidates[start:end].copy(), near.shingle_words)
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
        if candidates[start:end].any()
    ]
    for _ in run(shingle_part, tasks):
        pass
    lengths, sets = dict[int, int](), dict[int, NDArray[np.uint64]]()
    for task in tasks:
        mine = np.flatnonzero(task.candidates)
        characters = read_array(folder, task.number, "lengths")[mine]
        ends, shingles = read_array(folder, task.number, "ends").tolist(), read_array(folder, task.number, "shingles")
        for position, length, start, end in zip(
            (mine + bounds[task.number]).tolist(), characters.tolist(), [0, *ends[:-1]], ends, strict=True
        ):
            lengths[position], sets[position] = length, shingles[start:end]
    return np.array(sorted(resembling(positions, buckets, lengths, sets, near.threshold)), dtype=np.int64)


def split_codes(folder: str, number: int, stays: Mask, config: PreprocessConfig) -> NDArray[np.int8]:
    """For each record of a part the number of its split in NAMES, -1 where it does not stay."""
    share = read_array(folder, number, "places") / 2**64
    test, validation = config.splits.test, config.splits.test + config.splits.validation
    codes = np.where(share < test, NAMES.index("test"), np.where(share < validation, NAMES.index("validation"), NAMES.index("train")))
    return np.where(stays, codes, -1).astype(np.int8)
