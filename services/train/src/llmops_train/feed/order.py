"""Which rows a step trains on: a function of seed and step alone, whatever the input mode and the number of processes.

Where all rows fit into the shuffle window an epoch is one permutation. Where they do not, shards come in shuffled order, `lanes`
of them side by side, each read from its beginning to its end; a window of consecutive blocks is shuffled at a time. So a disk or S3
sees long forward reads, memory holds two windows, and any step is found without reading what came before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_train.feed.sequences import Arrangement, Block, Rows, Sequences


@dataclass(frozen=True)
class Epoch:
    """The blocks of one epoch in reading order, and where its windows end."""

    shards: Rows
    starts: Rows
    """First row of each block in its shard."""
    stops: Rows
    window_blocks: int
    """Blocks of a window."""
    window_ends: Rows
    """Position in the epoch at which each window ends."""


class Order:
    """The rows of each step, epoch after epoch, each in its own shuffled order."""

    def __init__(self, num_rows: "int | Sequences", batch_rows: int, seed: int, arrangement: Arrangement | None = None) -> None:
        self.sequences = None if isinstance(num_rows, int) else num_rows
        if arrangement is None:
            arrangement = Arrangement((num_rows,), num_rows, num_rows, 1) if isinstance(num_rows, int) else num_rows.arrangement
        self.arrangement = arrangement
        self.num_rows = self.arrangement.num_rows()
        self.batch_rows = batch_rows
        self.seed = seed
        self.first_rows = np.concatenate([[0], np.cumsum(self.arrangement.shard_rows)])
        self._epochs: dict[int, Epoch] = {}
        self._windows: dict[tuple[int, int], Rows] = {}

    def rows(self, step: int) -> Rows:
        """Row numbers of a step, the first being 0. Tells the storage that this step is taken next."""
        rows = self.peek(step)
        if self.sequences is not None:
            self.sequences.expect(self, step)
        return rows

    def peek(self, step: int) -> Rows:
        """Row numbers of a step, without taking it."""
        number, offset = divmod(step * self.batch_rows, self.num_rows)
        ends = self.epoch(number).window_ends
        window = int(ends.searchsorted(offset, side="right"))
        if offset + self.batch_rows <= ends[window]:  # nearly always
            begin = offset - (int(ends[window - 1]) if window else 0)
            rows = self.window(number, window)[begin : begin + self.batch_rows]
            self.forget([(number, window)])
            return rows
        return self.peek_across(step)

    def peek_across(self, step: int) -> Rows:
        """Row numbers of a step that touches several windows or epochs."""
        found, needed = np.empty(self.batch_rows, np.int64), []
        for number, mine, offsets, windows in self.places(step):
            ends, inside = self.epoch(number).window_ends, np.empty(len(offsets), np.int64)
            for window in map(int, np.unique(windows)):
                here = windows == window
                inside[here] = self.window(number, window)[offsets[here] - (int(ends[window - 1]) if window else 0)]
                needed.append((number, window))
            found[mine] = inside
        self.forget(needed)
        return found

    def places(self, step: int) -> Iterator[tuple[int, NDArray[np.bool_], Rows, Rows]]:
        """For each epoch a step touches: its number, which of the step's rows are of it, and their offsets and windows in it."""
        places = np.arange(step * self.batch_rows, (step + 1) * self.batch_rows)
        epochs, offsets = places // self.num_rows, places % self.num_rows
        for number in map(int, np.unique(epochs)):
            mine = epochs == number
            yield number, mine, offsets[mine], np.searchsorted(self.epoch(number).window_ends, offsets[mine], side="right")

    def windows(self, step: int) -> list[tuple[int, int]]:
        """Epoch and number of each window a step touches."""
        return [(number, window) for number, _, _, windows in self.places(step) for window in map(int, np.unique(windows))]

    def window(self, number: int, window: int) -> Rows:
        """The rows of one window of an epoch, shuffled."""
        key = (number, window)
        if key not in self._windows:
            if len(self.epoch(number).window_ends) == 1:
                self._windows[key] = np.random.default_rng((self.seed, number)).permutation(self.num_rows)
            else:
                parts = [self.first_rows[block.shard] + np.arange(block.start, block.stop) for block in self.blocks(number, window)]
                self._windows[key] = np.random.default_rng((self.seed, number, window)).permutation(np.concatenate(parts))
        return self._windows[key]

    def upcoming(self, windows: list[tuple[int, int]]) -> list[Block]:
        """The blocks of these windows and of the one after them, in reading order, each once."""
        wanted = [*windows, self.following(*windows[-1])]
        return list(dict.fromkeys(block for window in wanted for block in self.blocks(*window)))

    def blocks(self, number: int, window: int) -> list[Block]:
        """The blocks of one window in reading order."""
        epoch = self.epoch(number)
        some = slice(window * epoch.window_blocks, (window + 1) * epoch.window_blocks)
        return [Block(*map(int, block)) for block in zip(epoch.shards[some], epoch.starts[some], epoch.stops[some], strict=True)]

    def following(self, number: int, window: int) -> tuple[int, int]:
        """Epoch and window after this one."""
        return (number, window + 1) if window + 1 < len(self.epoch(number).window_ends) else (number + 1, 0)

    def epoch(self, number: int) -> Epoch:
        """The block order of an epoch."""
        if number not in self._epochs:
            self._epochs[number] = arrange(self.arrangement, self.seed, number)
        return self._epochs[number]

    def forget(self, needed: list[tuple[int, int]]) -> None:
        """Keeps what the last step used and the epoch after it."""
        if len(self._windows) == len(needed):
            return
        self._windows = {key: self._windows[key] for key in needed}
        last = needed[-1][0]
        self._epochs = {number: epoch for number, epoch in self._epochs.items() if needed[0][0] <= number <= last + 1}


def arrange(arrangement: Arrangement, seed: int, number: int) -> Epoch:
    """The blocks of an epoch: shuffled shards dealt to the lanes, one block of each lane in turn."""
    counts = np.array(arrangement.shard_rows, np.int64)
    if arrangement.num_rows() <= arrangement.window_rows:  # all in one window, whose shuffle makes the order of blocks irrelevant
        shards = np.flatnonzero(counts)
    else:
        shuffled = np.random.default_rng((seed, number, 0, 0)).permutation(len(counts))
        shards = shuffled[counts[shuffled] > 0]
    lane, turn, shard, start = deal(shards, counts, arrangement)
    by_turn = np.lexsort((lane, turn))
    shard, start = shard[by_turn], start[by_turn]
    stop = np.minimum(start + arrangement.block_rows, counts[shard])
    ends = np.cumsum(stop - start)
    if arrangement.num_rows() <= arrangement.window_rows:
        return Epoch(shard, start, stop, len(shard), ends[-1:])
    window_blocks = max(1, arrangement.window_rows // arrangement.block_rows)
    last = np.append(np.arange(window_blocks - 1, len(ends) - 1, window_blocks), len(ends) - 1)
    return Epoch(shard, start, stop, window_blocks, ends[last])


def deal(shards: Rows, counts: Rows, arrangement: Arrangement) -> tuple[Rows, Rows, Rows, Rows]:
    """(lane, turn, shard, first row) of every block: each shard goes to the lane that is free first, in turns of one block."""
    num_blocks = -(-counts[shards] // arrangement.block_rows)
    free = np.zeros(arrangement.lanes, np.int64)
    lanes, begins = np.empty(len(shards), np.int64), np.empty(len(shards), np.int64)
    for place, length in enumerate(num_blocks.tolist()):
        lane = int(np.argmin(free))
        lanes[place], begins[place] = lane, free[lane]
        free[lane] += length
    within = count_within(num_blocks)
    shard = np.repeat(shards, num_blocks)
    return np.repeat(lanes, num_blocks), np.repeat(begins, num_blocks) + within, shard, within * arrangement.block_rows


def count_within(lengths: NDArray[np.int64]) -> Rows:
    """[2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
