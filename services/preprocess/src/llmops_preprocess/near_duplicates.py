"""Near duplicates: MinHash signatures, LSH banding, and every candidate pair verified by its exact Jaccard index.

Broder, "On the resemblance and containment of documents", 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", chapter 3. A text is dropped only for a longer one that is kept, so no text is lost through a chain of
neighbours that are not alike themselves.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.config import NearDuplicates
from llmops_preprocess.known_words import digests_of, gathered
from llmops_preprocess.record import Record, Stage, keep

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

# shingles hashed at a time: 128 permutations of them are a megabyte, which stays in a cache
CHUNK = 2048


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
    bands = band_keys(sign(shingles, starts, config.num_permutations), band_rows(config.threshold, config.num_permutations))
    positions, buckets = shared_buckets(bands.T)
    sets = {int(position): np.unique(shingles[starts[position] : starts[position + 1]]) for position in np.unique(positions)}
    lengths = {position: len(texts[position]) for position in sets}
    return resembling(positions, buckets, lengths, sets, config.threshold)


def bands_of(texts: Sequence[str], config: NearDuplicates) -> Hashes:
    """Keys of each text in every band, shape [texts, bands]: texts with one in common are compared."""
    assert config.threshold is not None
    shingles, starts = shingle(texts, config.shingle_words)
    return band_keys(sign(shingles, starts, config.num_permutations), band_rows(config.threshold, config.num_permutations))


def resembling(
    positions: Positions, buckets: Positions, lengths: Mapping[int, int], sets: Mapping[int, Hashes], threshold: float
) -> set[int]:
    """Positions of the texts to drop: from long to short, and of equal length in order, those that resemble one that is kept.

    `positions` and `buckets` name a text and a bucket it shares; `lengths` and `sets` are those of the texts in them, a set as
    sorted values.
    """
    order = np.argsort(positions, kind="stable")
    positions, buckets = positions[order], buckets[order]
    edges = np.flatnonzero(np.concatenate([[True], positions[1:] != positions[:-1], [True]]))
    mine = {int(positions[start]): buckets[start:end].tolist() for start, end in itertools.pairwise(edges.tolist())} if len(order) else {}
    kept_in: dict[int, list[int]] = {}
    dropped = set[int]()
    for position in sorted(mine, key=lambda position: (-lengths[position], position)):
        candidates = dict.fromkeys(other for bucket in mine[position] for other in kept_in.get(bucket, ()))
        if any(resemble(sets[position], sets[other], threshold) for other in candidates):
            dropped.add(position)
            continue
        for bucket in mine[position]:
            kept_in.setdefault(bucket, []).append(position)
    return dropped


def resemble(one: Hashes, other: Hashes, threshold: float) -> bool:
    """Whether the exact Jaccard index of two sets of sorted values is at least the threshold."""
    few, many = sorted((len(one), len(other)))
    if few < threshold * many:
        return False
    both = np.concatenate((one, other))
    both.sort(kind="stable")  # two runs in order, which a merge finds
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared >= threshold * (few + many - shared)


def shingle(texts: Sequence[str], width: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of all runs of `width` words, text after text, and where each text starts in them (one more than there are texts).

    A text with fewer words has one shingle, the text itself.
    """
    stream, counts = digests_of(texts)
    sizes = np.maximum(counts, width)
    if len(counts) and counts.min() < width:  # a text with fewer words is filled up
        padded = np.zeros(int(sizes.sum()), dtype=np.uint64)
        padded[gathered(np.cumsum(sizes) - sizes, counts)] = stream
        stream = padded
    rolling = np.zeros(len(stream) - width + 1, dtype=np.uint64)
    for offset in range(width):
        rolling = rolling * np.uint64(0x9E3779B97F4A7C15) + stream[offset : len(stream) - width + 1 + offset]
    ends = np.cumsum(sizes)
    inside = np.ones(len(stream), dtype=bool)  # the last width - 1 words of a text start no shingle of it
    for offset in range(1, width):
        inside[ends - offset] = False
    starts = np.concatenate([[0], np.cumsum(sizes - width + 1)])
    return mix(rolling[inside[: len(rolling)]]), starts


def mix(values: Hashes) -> Hashes:
    """Spreads every bit over all others (the finalizer of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def sign(shingles: Hashes, starts: NDArray[np.int64], num_permutations: int) -> NDArray[np.uint32]:
    """MinHash signatures, shape [texts, permutations]: of each permutation the least value in the text."""
    generator = np.random.default_rng(1)  # a constant: signatures of one corpus must fit those of another
    factors = generator.integers(1, 2**31, size=(num_permutations, 1), dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    terms = generator.integers(0, 2**32, size=(num_permutations, 1), dtype=np.uint32)
    short = (shingles >> np.uint64(32)).astype(np.uint32)  # processors multiply four times as many of these at once
    signatures = np.empty((len(starts) - 1, num_permutations), dtype=np.uint32)
    first = 0
    while first < len(signatures):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CHUNK, side="right")) - 1)
        values = factors * short[starts[first] : starts[last]]  # modulo 2**32, as multiply-shift hashing (Dietzfelbinger 1996)
        values += terms
        signatures[first:last] = np.minimum.reduceat(values, starts[first:last] - starts[first], axis=1).T
        first = last
    return signatures


def band_rows(threshold: float, num_permutations: int) -> int:
    """Rows of a band: as many as possible while a pair at the threshold becomes a candidate in 99.5 % of cases."""
    found = 1
    for rows in range(1, num_permutations + 1):
        if 1 - (1 - threshold**rows) ** (num_permutations // rows) >= 0.995:
            found = rows
    return found


def band_keys(signatures: NDArray[np.uint32], rows: int) -> Hashes:
    """One value for the rows of each band, shape [texts, bands]."""
    bands = signatures.shape[1] // rows
    keys: Hashes = np.zeros((len(signatures), bands), dtype=np.uint64)
    for row in range(rows):
        keys = mix(keys + signatures[:, row : bands * rows : rows].astype(np.uint64))
    return keys


def shared_buckets(bands: Iterable[Hashes]) -> tuple[Positions, Positions]:
    """Of the keys of all texts, band after band: positions of texts and numbers of the buckets that they share with another."""
    positions, buckets, first = list[Positions](), list[Positions](), 0
    for keys in bands:
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        same = ranked[1:] == ranked[:-1]
        starts = np.concatenate([[True], ~same])
        shared = np.concatenate([[False], same]) | np.concatenate([same, [False]])
        positions.append(order[shared])
        buckets.append(first + np.cumsum(starts)[shared])
        first += len(keys)
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *positions]), np.concatenate([empty, *buckets])
