"""The length of a gradient that lies in pieces on many processes, and its clipping."""

import math

import torch  # noqa: TID253 - this module is imported late
import torch.distributed as dist  # noqa: TID253
from torch.distributed.tensor import DTensor  # noqa: TID253


def clip(parameters: list[torch.nn.Parameter], longest: float, stages: dist.ProcessGroup | None) -> float:
    """Scales gradients down to the length `longest`; returns their length before. `stages` have other parameters each."""
    groups = by_mesh(parameters)
    squares = torch.zeros(())
    for group in groups:
        norm = torch.nn.utils.get_total_norm([p.grad for p in group if p.grad is not None], foreach=True)
        squares += (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach().cpu() ** 2
    if stages is not None:
        summed = squares.to(parameters[0].device)
        dist.all_reduce(summed, group=stages)
        squares = summed.cpu()
    total = squares.sqrt()
    if math.isfinite(total):
        for group in groups:
            torch.nn.utils.clip_grads_with_norm_(group, longest, total.to(group[0].device), foreach=True)
    return float(total)


def by_mesh(parameters: list[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """Parameters split in the same way together: torch's batched operations want one mesh."""
    groups: dict[object, list[torch.nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(mesh_of(parameter), []).append(parameter)
    return list(groups.values())


def mesh_of(tensor: torch.Tensor) -> object:
    """What a DTensor is split over; None for a plain tensor."""
    return (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None
