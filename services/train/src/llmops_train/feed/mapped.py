"""Sequences in local files, mapped into memory: the system reads a page when it is first used, and drops it when memory is short."""

from collections import OrderedDict

import numpy as np

from llmops_train.feed.layout import HEAD_BYTES, Table, Wanted, read_layout
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Arrangement, Packed, Rows
from llmops_train.feed.streamed import check_tokens

MAX_OPEN = 256  # each map holds a file handle, of which a process may have 1,024


class MappedSequences:
    """A split in files. Nothing is read before it is used, so opening it and going on in the middle cost nothing."""

    def __init__(self, paths: list[str], wanted: list[Wanted], arrangement: Arrangement, num_tokens: int, vocab_size: int) -> None:
        self.paths = paths
        self.arrangement = arrangement
        self.total_tokens = num_tokens
        self.vocab_size = vocab_size
        self.first_rows = np.concatenate([[0], np.cumsum(arrangement.shard_rows)])
        self.wanted = wanted
        self._tables: OrderedDict[int, Table] = OrderedDict()
        for shard in range(len(paths)):  # a wrong shard is known before the first step
            self.table(shard)

    def __len__(self) -> int:
        return self.arrangement.num_rows()

    def num_tokens(self) -> int:
        return self.total_tokens

    def expect(self, order: Order, step: int) -> None:
        """The system's own read-ahead does."""

    def table(self, shard: int) -> Table:
        """The rows of a shard as views of its file."""
        if shard not in self._tables:
            if len(self._tables) >= MAX_OPEN:
                self._tables.popitem(last=False)
            self._tables[shard] = open_mapped(self.paths[shard], self.wanted[shard])
        self._tables.move_to_end(shard)
        return self._tables[shard]

    def take(self, rows: Rows) -> Packed:
        shards = self.first_rows.searchsorted(rows, side="right") - 1
        inside = rows - self.first_rows[shards]
        first = int(shards[0])
        joined = {name: np.empty((len(rows), values.shape[1]), values.dtype) for name, values in self.table(first).items()}
        for place, (shard, row) in enumerate(zip(shards.tolist(), inside.tolist(), strict=True)):
            for name, values in self.table(shard).items():
                joined[name][place] = values[row]
        check_tokens(self.paths[first], joined, self.vocab_size)
        return Packed(joined["input_ids"], joined["document_ids"], joined.get("loss_mask"))


def open_mapped(path: str, wanted: Wanted) -> Table:
    """The rows of a shard as views of its file. Raises LlmopsError when it is not what the manifest says."""
    if not wanted.num_rows:
        return {}
    content = np.memmap(path, np.uint8, mode="r")
    layout = read_layout(path, content[:HEAD_BYTES].tobytes(), wanted)
    pieces = [np.asarray(content[start:stop]) for start, stop in layout.ranges(0, wanted.num_rows)]
    return layout.decode(path, 0, wanted.num_rows, pieces)
