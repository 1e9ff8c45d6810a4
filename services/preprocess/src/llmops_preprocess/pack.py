"""Packing: documents into sequences of one length, none cut that fits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cut(lengths: Sequence[int], capacity: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and lengths of the pieces when documents that lie one after another are cut, where longer, at every `capacity`."""
    sizes = np.asarray(lengths, dtype=np.int64)
    pieces = -(-sizes // capacity)
    owner = np.repeat(np.arange(len(sizes)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    offsets = number * capacity
    return (np.cumsum(sizes) - sizes)[owner] + offsets, np.minimum(sizes[owner] - offsets, capacity)


def pack(lengths: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Positions of the pieces in each sequence: best fit, longest first (Johnson 1973: at most 11/9 of the optimum plus 4).

    The sequences with room left stand in stacks by that room, and one bit a room in an integer says which stacks are not
    empty: the least room that fits is then the lowest bit above the piece's length.
    """
    sequences: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    open_rooms = 0
    order = np.argsort(-lengths, kind="stable")
    for position, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = open_rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            sequence = with_room[room].pop()
            if not with_room[room]:
                open_rooms ^= 1 << room
            sequences[sequence].append(position)
        else:
            room, sequence = capacity, len(sequences)
            sequences.append([position])
        left = room - length
        if left:
            with_room[left].append(sequence)
            open_rooms |= 1 << left
    return sequences


def places(sequences: Sequence[Sequence[int]], lengths: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], ...]:
    """Of every piece, sequence after sequence: its position, where it starts in the flattened sequences, its number from 1 in its own."""
    sizes = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    position = np.array([item for sequence in sequences for item in sequence], dtype=np.int64)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    number = np.arange(len(position)) - first
    running = np.cumsum(lengths[position]) - lengths[position]
    start = running - running[first] + np.repeat(np.arange(len(sizes)), sizes) * capacity
    return position, start, number + 1
