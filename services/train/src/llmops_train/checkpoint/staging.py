"""Staging: a copy of the state in buffers that are kept, so that the run goes on while the copy is written."""

import torch  # noqa: TID253 - this module is imported late

from llmops_train.checkpoint.piece import Piece


class Staging:
    """Buffers in the host's memory, one for each piece, made at the first checkpoint: fresh memory costs more than copying into it."""

    def __init__(self) -> None:
        self.buffers: dict[str, torch.Tensor] = {}

    def copy(self, pieces: list[Piece]) -> dict[str, torch.Tensor]:
        """The pieces' values as they are now, valid until the next call."""
        return {piece.name: self.fill(piece) for piece in pieces}

    def fill(self, piece: Piece) -> torch.Tensor:
        """One piece's values in its buffer."""
        source = piece.tensor.reshape(piece.box.size)
        buffer = self.buffers.get(piece.name)
        if buffer is None or buffer.shape != source.shape or buffer.dtype != source.dtype:
            buffer = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.is_cuda)
            self.buffers[piece.name] = buffer
        buffer.copy_(source)
        return buffer
