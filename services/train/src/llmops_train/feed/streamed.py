"""Sequences read by blocks ahead of the trainer: from a mount, FastFile or S3, in memory for two shuffle windows at most."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from llmops_shared.errors import LlmopsError
from llmops_train.feed.layout import HEAD_BYTES, Layout, Table, Wanted, read_layout
from llmops_train.feed.order import Order
from llmops_train.feed.ranges import Ranges
from llmops_train.feed.sequences import Arrangement, Block, Packed, Rows

STRAYS = 2  # blocks kept that nobody announced, for reading in order


class StreamedSequences:
    """A split whose blocks are fetched by `workers` threads as the order announces them, and dropped behind it."""

    def __init__(
        self,
        names: list[str],
        ranges: Ranges,
        wanted: list[Wanted],
        arrangement: Arrangement,
        num_tokens: int,
        vocab_size: int,
        workers: int,
    ) -> None:
        self.names = names
        self.ranges = ranges
        self.wanted = wanted
        self.arrangement = arrangement
        self.total_tokens = num_tokens
        self.vocab_size = vocab_size
        self.first_rows = np.concatenate([[0], np.cumsum(arrangement.shard_rows)])
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="feed")
        self._blocks: dict[Block, Future[Table]] = {}
        self._expected: set[Block] = set()
        self._windows: list[tuple[int, int]] = []
        self._layouts: dict[int, Layout] = {}
        self._lock = threading.Lock()
        self._layout_lock = threading.Lock()
        self.keep_previous = False
        """Whether the window before stays, for readers that are not all at the same step."""

    def __len__(self) -> int:
        return self.arrangement.num_rows()

    def num_tokens(self) -> int:
        return self.total_tokens

    def expect(self, order: Order, step: int) -> None:
        windows = order.windows(step)
        with self._lock:
            if windows == self._windows:
                return
            self._windows = windows
            blocks = order.upcoming(windows)
            kept = {*blocks, *(self._expected if self.keep_previous else ())}
            self._expected = set(blocks)
            for block in [block for block in self._blocks if block not in kept]:
                self._blocks.pop(block).cancel()
            for block in blocks:
                self.start(block)

    def start(self, block: Block) -> "Future[Table]":
        """The block, being read."""
        if block not in self._blocks:
            self._blocks[block] = self._pool.submit(self.load, block)
        return self._blocks[block]

    def take(self, rows: Rows) -> Packed:
        shards = np.searchsorted(self.first_rows, rows, side="right") - 1
        inside = rows - self.first_rows[shards]
        numbers = inside // self.arrangement.block_rows
        joined: Table = {}
        for shard, number in {(int(shard), int(number)) for shard, number in zip(shards, numbers, strict=True)}:
            mine = (shards == shard) & (numbers == number)
            block = self.block(shard, number)
            with self._lock:
                reading = self.start(block)
            table = reading.result()
            for name, values in table.items():
                if name not in joined:
                    joined[name] = np.empty((len(rows), values.shape[1]), values.dtype)
                joined[name][mine] = values[inside[mine] - block.start]
        self.drop_strays()
        return Packed(joined["input_ids"], joined["document_ids"], joined.get("loss_mask"))

    def block(self, shard: int, number: int) -> Block:
        """The block of this number in a shard."""
        start = number * self.arrangement.block_rows
        return Block(shard, start, min(start + self.arrangement.block_rows, self.arrangement.shard_rows[shard]))

    def drop_strays(self) -> None:
        """Forgets blocks that were read without having been announced, but for the last."""
        with self._lock:
            strays = [block for block in self._blocks if block not in self._expected]
            for block in strays[: -(STRAYS + len(self._expected) * self.keep_previous)]:
                del self._blocks[block]

    def load(self, block: Block) -> Table:
        """Reads a block and checks its tokens."""
        where = self.names[block.shard]
        layout = self.layout(block.shard)
        content = [self.ranges.read(block.shard, start, stop) for start, stop in layout.ranges(block.start, block.stop)]
        table = layout.decode(where, block.start, block.stop, content)
        check_tokens(where, table, self.vocab_size)
        if block.stop == self.arrangement.shard_rows[block.shard]:
            self.ranges.finished(block.shard)
        return table

    def layout(self, shard: int) -> Layout:
        """Where the rows of a shard lie; read once."""
        with self._layout_lock:
            if shard not in self._layouts:
                head = self.ranges.read(shard, 0, HEAD_BYTES).tobytes()
                self._layouts[shard] = read_layout(self.names[shard], head, self.wanted[shard])
            return self._layouts[shard]

    def close(self) -> None:
        """Stops reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def check_tokens(where: str, table: Table, vocab_size: int) -> None:
    """Raises LlmopsError when there is a token that the tokenizer does not have."""
    highest = int(table["input_ids"].max(initial=0))
    if highest >= vocab_size:
        raise LlmopsError(f"{where}: holds token {highest}, but the tokenizer has {vocab_size}; rerun preprocess")
