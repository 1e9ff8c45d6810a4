"""Near duplicates: MinHash signatures, LSH banding, and every candidate pair verified by its exact Jaccard index.

Broder, "On the resemblance and containment of documents", 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", chapter 3. A text is dropped only for a longer one that is kept, so no text is lost through a chain of
neighbours that are not alike themselves.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.record import Record, Stage, keep

Hashes = NDArray[np.uint64]

WORD = re.compile(r"\w+")
# shingles hashed at a time: 128 permutations of them are 8 MB, which stays in a cache
CHUNK = 8192


def drop_near_duplicates(records: Sequence[Record], config: NearDuplicates) -> Stage:
    """Drops a record when a longer one that is kept resembles it; of equal lengths the first is kept."""
    dropped = near_duplicates([record.content for record in records], config) if config.threshold is not None else set()
    numbered = {id(record): number for number, record in enumerate(records)}
    return keep("near_duplicates", records, lambda record: "near_duplicate" if numbered[id(record)] in dropped else None)


def near_duplicates(texts: Sequence[str], config: NearDuplicates) -> set[int]:
    """Positions of the texts to drop."""
    assert config.threshold is not None
    if not texts:
        return set()
    shingles, starts = shingle(texts, config.shingle_words)
    signatures = sign(shingles, starts, config.num_permutations)
    buckets = shared_buckets(signatures, band_rows(config.threshold, config.num_permutations))
    sets = ShingleSets(shingles, starts)
    order = sorted(np.flatnonzero((buckets >= 0).any(axis=1)).tolist(), key=lambda position: (-len(texts[position]), position))
    kept_in: dict[int, list[int]] = {}
    dropped = set()
    for position in order:
        mine = [bucket for bucket in buckets[position].tolist() if bucket >= 0]
        candidates = dict.fromkeys(other for bucket in mine for other in kept_in.get(bucket, ()))
        if any(sets.jaccard(position, other) >= config.threshold for other in candidates):
            dropped.add(position)
            continue
        for bucket in mine:
            kept_in.setdefault(bucket, []).append(position)
    return dropped


def shingle(texts: Sequence[str], width: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of all runs of `width` words, text after text, and where each text starts in them (one more than there are texts).

    A text with fewer words has one shingle, the text itself.
    """
    known, words = WordHashes(), list[int]()
    sizes = np.empty(len(texts), dtype=np.int64)
    for number, text in enumerate(texts):
        found = WORD.findall(text.lower())
        words.extend(map(known.__getitem__, found))
        words.extend([0] * (width - len(found)))
        sizes[number] = max(len(found), width)
    stream = np.array(words, dtype=np.uint64)
    rolling = np.zeros(len(stream) - width + 1, dtype=np.uint64)
    for offset in range(width):
        rolling = rolling * np.uint64(0x9E3779B97F4A7C15) + stream[offset : len(stream) - width + 1 + offset]
    ends = np.cumsum(sizes)
    inside = np.ones(len(stream), dtype=bool)  # the last width - 1 words of a text start no shingle of it
    for offset in range(1, width):
        inside[ends - offset] = False
    starts = np.concatenate([[0], np.cumsum(sizes - width + 1)])
    return mix(rolling[inside[: len(rolling)]]), starts


class WordHashes(dict[str, int]):
    """64 bits of a digest of each word, made when first asked for: the same in every process."""

    def __missing__(self, word: str) -> int:
        self[word] = found = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return found


def mix(values: Hashes) -> Hashes:
    """Spreads every bit over all others (the finalizer of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def sign(shingles: Hashes, starts: NDArray[np.int64], num_permutations: int) -> NDArray[np.uint32]:
    """MinHash signatures, shape [texts, permutations]: of each permutation the least value in the text."""
    generator = np.random.default_rng(1)  # a constant: signatures of one corpus must fit those of another
    factors = generator.integers(1, 2**63, size=(num_permutations, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    terms = generator.integers(0, 2**63, size=(num_permutations, 1), dtype=np.uint64)
    signatures = np.empty((len(starts) - 1, num_permutations), dtype=np.uint32)
    first = 0
    while first < len(signatures):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CHUNK, side="right")) - 1)
        values = factors * shingles[starts[first] : starts[last]] + terms  # modulo 2**64: multiply-shift hashing, Dietzfelbinger 1996
        least = np.minimum.reduceat(values, starts[first:last] - starts[first], axis=1)
        signatures[first:last] = (least >> np.uint64(32)).T
        first = last
    return signatures


def band_rows(threshold: float, num_permutations: int) -> int:
    """Rows of a band: as many as possible while a pair at the threshold becomes a candidate in 99.5 % of cases."""
    found = 1
    for rows in range(1, num_permutations + 1):
        if 1 - (1 - threshold**rows) ** (num_permutations // rows) >= 0.995:
            found = rows
    return found


def shared_buckets(signatures: NDArray[np.uint32], rows: int) -> NDArray[np.int64]:
    """Bucket numbers, shape [texts, bands]; -1 where a text is alone in its bucket."""
    bands = signatures.shape[1] // rows
    buckets = np.full((len(signatures), bands), -1, dtype=np.int64)
    first = 0
    for band in range(bands):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for row in range(band * rows, (band + 1) * rows):
            key = mix(key + signatures[:, row])
        _, bucket, size = np.unique(key, return_inverse=True, return_counts=True)
        shared = size[bucket] > 1
        buckets[shared, band] = first + bucket[shared]
        first += len(size)
    return buckets


class ShingleSets:
    """The set of shingles of each text, made when first asked for."""

    def __init__(self, shingles: Hashes, starts: NDArray[np.int64]) -> None:
        self.shingles, self.starts = shingles, starts
        self.made: dict[int, frozenset[Any]] = {}

    def of(self, position: int) -> frozenset[Any]:
        """The set of one text."""
        if position not in self.made:
            self.made[position] = frozenset(self.shingles[self.starts[position] : self.starts[position + 1]].tolist())
        return self.made[position]

    def jaccard(self, one: int, other: int) -> float:
        """Shared shingles as a share of all shingles of the two."""
        mine, theirs = self.of(one), self.of(other)
        shared = len(mine & theirs)
        return shared / (len(mine) + len(theirs) - shared)
