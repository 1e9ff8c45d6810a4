"""What every input mode gives: packed sequences by row number."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llmops_train.feed.order import Order

Rows = NDArray[np.int64]
Tokens = NDArray[np.unsignedinteger]


class Block(NamedTuple):
    """A run of rows of one shard that is read in one go."""

    shard: int
    start: int
    """First row, counted in the shard."""
    stop: int
    """One past the last row."""


@dataclass(frozen=True)
class Arrangement:
    """How the rows of a split lie and how they are mixed. It decides the order of rows, so every mode has the same."""

    shard_rows: tuple[int, ...]
    """Rows of each shard."""
    block_rows: int
    """Rows read in one go."""
    window_rows: int
    """Rows shuffled among each other, and so held in memory."""
    lanes: int
    """Shards read side by side, each from its beginning to its end."""

    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(self.shard_rows)


@dataclass(frozen=True)
class Packed:
    """Sequences in memory, as arrays of shape [num_sequences, sequence_length]."""

    input_ids: Tokens
    """Token ids."""
    document_ids: Tokens
    """0 is padding; the documents of a sequence count from 1."""
    loss_mask: Tokens | None
    """1 where the token belongs to an answer; None where every token is learnt."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def arrangement(self) -> Arrangement:
        """One block: all rows are shuffled among each other."""
        return Arrangement((len(self),), max(1, len(self)), max(1, len(self)), 1)

    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int(np.count_nonzero(self.document_ids))

    def take(self, rows: Rows) -> "Packed":
        """The sequences of these row numbers, in this order."""
        return Packed(self.input_ids[rows], self.document_ids[rows], None if self.loss_mask is None else self.loss_mask[rows])

    def expect(self, order: "Order", step: int) -> None:
        """They are here already."""


class Sequences(Protocol):
    """The rows of a split, wherever they lie."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def arrangement(self) -> Arrangement:
        """How the rows lie."""

    def num_tokens(self) -> int:
        """Tokens of all rows that are not padding."""

    def take(self, rows: Rows) -> Packed:
        """The sequences of these row numbers, in this order. Raises LlmopsError when they cannot be read or are damaged."""

    def expect(self, order: "Order", step: int) -> None:
        """Announces that this step is taken next, so that what follows can be read ahead and what lies behind forgotten."""
