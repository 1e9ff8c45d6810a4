"""Counts of n-grams that two texts share, for all rows at once, exact."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

KEY_BITS = 63
MAX_ROWS = 4096


def shared_ngrams(left: Sequence[Integers], right: Sequence[Integers], max_order: int) -> Integers | None:
    """Counts [num_rows, max_order, 3] of n-grams on the left, on the right, and shared (a multiset intersection).

    A row is an array of symbols from 0. Each n-gram becomes one 63-bit number of its row and symbols, so that sorting counts
    them; rows are taken in groups that fit. None when one row alone has too many different symbols.
    """
    symbol_bits = max((int(row.max()).bit_length() for row in (*left, *right) if len(row)), default=1) or 1
    room = KEY_BITS - symbol_bits * max_order
    if room < 0:
        return None
    group = min(MAX_ROWS, 1 << min(room, 12))
    return np.concatenate(
        [count(left[start : start + group], right[start : start + group], max_order, symbol_bits) for start in range(0, len(left), group)]
    )


def count(left: Sequence[Integers], right: Sequence[Integers], max_order: int, symbol_bits: int) -> Integers:
    """The counts of one group."""
    table = np.zeros((len(left), max_order, 3), dtype=np.int64)
    orders = zip(keys(left, max_order, symbol_bits), keys(right, max_order, symbol_bits), strict=True)
    for order, (ours, theirs) in enumerate(orders):
        shift = symbol_bits * (order + 1)
        for side, found in enumerate((ours, theirs)):
            table[:, order, side] = np.bincount(found >> shift, minlength=len(left))
        grams, times = np.unique(ours, return_counts=True)
        others, their_times = np.unique(theirs, return_counts=True)
        place = np.searchsorted(others, grams)
        inside = place < len(others)
        known = np.zeros(len(grams), dtype=bool)
        known[inside] = others[place[inside]] == grams[inside]
        shared = np.minimum(times[known], their_times[place[known]])
        table[:, order, 2] = np.bincount(grams[known] >> shift, weights=shared, minlength=len(left)).astype(np.int64)
    return table


def keys(rows: Sequence[Integers], max_order: int, symbol_bits: int) -> Iterator[Integers]:
    """For each order the keys of all n-grams: the number of the row, then the symbols."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    flat = np.concatenate([*rows, np.zeros(max_order, np.int64)])
    row_of = np.repeat(np.arange(len(rows)), lengths)
    left_in_row = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(row_of))
    key = row_of
    for order in range(max_order):
        key = key << symbol_bits | flat[order : order + len(row_of)]
        yield key[left_in_row > order]
