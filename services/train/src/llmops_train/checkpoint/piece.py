"""Pieces: what one process holds of a tensor of the run, and where in the whole it belongs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch  # noqa: TID253 - this module is imported late


@dataclass(frozen=True)
class Box:
    """A block of a tensor; ZeRO cuts the flattened tensor, which is then the shape."""

    shape: tuple[int, ...]
    """Shape of the whole, as it is cut."""
    start: tuple[int, ...]
    """Its first index in each dimension."""
    size: tuple[int, ...]
    """Its length in each dimension."""

    @property
    def empty(self) -> bool:
        return 0 in self.size

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """This block of a whole tensor."""
        block = whole.reshape(self.shape)
        for dimension, (start, size) in enumerate(zip(self.start, self.size, strict=True)):
            block = block.narrow(dimension, start, size)
        return block


@dataclass(frozen=True)
class Piece:
    """A block that lives in this process's memory."""

    name: str
    """`model.PARAMETER` or `optimizer.PARAMETER.KEY`, PARAMETER being its name in the model that nothing splits."""
    box: Box
    tensor: torch.Tensor = field(repr=False)
    """The live values, shape `box.size`."""
    written: bool = True
    """Whether this process writes it; copies are written once."""


Read = Callable[[str, Box], torch.Tensor]
"""A block of a tensor of the checkpoint, by name."""


def whole_box(tensor: torch.Tensor) -> Box:
    """All of a tensor."""
    shape = tuple(tensor.shape)
    return Box(shape, (0,) * len(shape), shape)


def flat_box(numel: int, start: int, size: int) -> Box:
    """A run of elements of a flattened tensor."""
    return Box((numel,), (start,), (size,))


def local_piece(name: str, tensor: torch.Tensor, written: bool) -> Piece:
    """The piece of a tensor that is whole here, or of a DTensor, whose copies along its mesh are written once."""
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return Piece(name, whole_box(tensor), tensor.detach(), written)
    box = box_of(tensor)
    return Piece(name, box, tensor.to_local().detach(), written and not box.empty)


def box_of(tensor: Any) -> Box:
    """Where the local part of a DTensor belongs."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Box(tuple(tensor.shape), tuple(start), tuple(size))


def num_bytes(pieces: list[Piece]) -> int:
    """Size of the pieces in memory."""
    return sum(math.prod(piece.box.size) * piece.tensor.element_size() for piece in pieces)
