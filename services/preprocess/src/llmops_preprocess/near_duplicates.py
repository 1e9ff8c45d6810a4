"""Near duplicates: MinHash signatures, LSH banding, and every candidate pair verified by its exact Jaccard index.

Broder, "On the resemblance and containment of documents", 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", chapter 3. A text is dropped only for a longer one that is kept, so no text is lost through a chain of
neighbours that are not alike themselves.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.known_words import digests_of, gathered

if TYPE_CHECKING:
    from llmops_preprocess.config import NearDuplicates

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

CHUNK = 32_768
"""Shingles hashed at a time: with their values they are 256 KiB, which the cache of one core holds."""
BLOCK_CHARACTERS = 250_000
"""Of texts whose words are looked up together: new pages of memory for arrays of all texts cost more than the sums."""


def near_duplicates(texts: Sequence[str], config: "NearDuplicates") -> set[int]:
    """Positions of the texts to drop."""
    assert config.threshold is not None
    if not texts:
        return set()
    shingles, starts = shingle(texts, config.shingle_words)
    bands = band_keys(sign(shingles, starts, config.num_permutations), band_rows(config.threshold, config.num_permutations))
    positions, buckets = shared_buckets(bands.T)
    sets = {int(position): distinct(shingles[starts[position] : starts[position + 1]]) for position in np.unique(positions)}
    lengths = {position: len(texts[position]) for position in sets}
    return resembling(positions, buckets, lengths, sets, config.threshold)


def bands_of(texts: Sequence[str], config: "NearDuplicates") -> Hashes:
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
    made, sizes = zip(*(shingle_block(block, width) for block in blocks(texts)), strict=True)
    return np.concatenate(made), np.concatenate([[0], np.cumsum(np.concatenate(sizes))])


def blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbours with about so many characters together."""
    ends = list(itertools.accumulate(map(len, texts)))
    first = 0
    while first < len(texts):
        last = bisect.bisect_left(ends, (ends[first - 1] if first else 0) + BLOCK_CHARACTERS, first) + 1
        yield texts[first:last]
        first = last


def shingle_block(texts: Sequence[str], width: int) -> tuple[Hashes, Positions]:
    """Shingles of texts, and how many each has."""
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
    return mix(rolling[inside[: len(rolling)]]), sizes - width + 1


def distinct(values: Hashes) -> Hashes:
    """The values sorted, each once; `np.unique` takes twice the time of it for those of one text."""
    ranked = np.sort(values)
    new = np.ones(len(ranked), dtype=bool)
    np.not_equal(ranked[1:], ranked[:-1], out=new[1:])
    return ranked[new]


def mix(values: Hashes) -> Hashes:
    """Spreads every bit over all others (the finalizer of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def sign(shingles: Hashes, starts: NDArray[np.int64], num_permutations: int) -> NDArray[np.uint32]:
    """MinHash signatures, shape [texts, permutations]: of each permutation the least value in the text."""
    generator = np.random.default_rng(1)  # a constant: signatures of one corpus must fit those of another
    factors = generator.integers(1, 2**31, size=num_permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    terms = generator.integers(0, 2**32, size=num_permutations, dtype=np.uint32)
    signatures = np.empty((num_permutations, len(starts) - 1), dtype=np.uint32)
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + CHUNK, side="right")) - 1)
        # processors multiply four times as many numbers of half the size at once
        short = (shingles[starts[first] : starts[last]] >> np.uint64(32)).astype(np.uint32)
        values, texts = np.empty_like(short), starts[first:last] - starts[first]
        for factor, term, least in zip(factors, terms, signatures, strict=True):
            np.multiply(short, factor, out=values)  # modulo 2**32, as multiply-shift hashing (Dietzfelbinger 1996)
            np.add(values, term, out=values)
            np.minimum.reduceat(values, texts, out=least[first:last])
        first = last
    return np.ascontiguousarray(signatures.T)


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
