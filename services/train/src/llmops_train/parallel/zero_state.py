"""ZeRO's state as pieces: it cuts the flattened tensors, so a checkpoint of ours can be read by any number of processes, and any engine.

DeepSpeed's own checkpoints are of one world size; its universal ones need a conversion beforehand and do not load with torch's AdamW.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late

from llmops_train.checkpoint.piece import Box, Piece, Read, flat_box, whole_box
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.state import Named

SCALAR = whole_box(torch.zeros(()))


class Fragment(NamedTuple):
    """The run of a flattened parameter that this process moves."""

    name: str
    parameter: Any
    box: Box
    weights: torch.Tensor
    """float32, a view into ZeRO's flat buffer."""
    state: dict[str, torch.Tensor]
    """The optimizer's tensors for it, views as well."""


def fragments(zero: Any, named: Named, mesh: Mesh, stage: int) -> Iterator[Fragment]:
    """What this process holds."""
    for name, parameter in named:
        fragment = of_stage_3(zero, name, parameter, mesh) if stage == 3 else of_stage_1_or_2(zero, name, parameter)
        if fragment is not None and not fragment.box.empty:
            yield fragment


def of_stage_1_or_2(zero: Any, name: str, parameter: Any) -> Fragment | None:
    """ZeRO 1 and 2 flatten a group of parameters and cut it into equal parts."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    box = flat_box(parameter.numel(), mapping.lp_fragment_address.start, mapping.lp_fragment_address.numel)
    # not mapping.optim_fragment, which DeepSpeed fills after the first group's first step, when other groups have no state yet
    flat, place = zero.single_partition_of_fp32_groups[mapping.param_group_index], mapping.hp_fragment_address
    return Fragment(name, parameter, box, mapping.hp_fragment, state_of(zero, flat, place.start, place.numel))


def of_stage_3(zero: Any, name: str, parameter: Any, mesh: Mesh) -> Fragment:
    """ZeRO 3 cuts each parameter into equal parts, the last one padded."""
    part = parameter.ds_tensor.ds_numel
    start = min(mesh.data_rank * part, parameter.ds_numel)
    size = min(part, parameter.ds_numel - start)
    group, offset, _ = zero.grad_position[zero.get_param_id(parameter)]
    flat = zero.fp32_partitioned_groups_flat[group]
    state = state_of(zero, flat, offset, size)
    return Fragment(name, parameter, flat_box(parameter.ds_numel, start, size), flat.detach().narrow(0, offset, size), state)


def state_of(zero: Any, flat: Any, start: int, size: int) -> dict[str, torch.Tensor]:
    """A run of each of the inner optimizer's tensors for a flat buffer."""
    state = zero.optimizer.state.get(flat, {})
    return {key: value.narrow(0, start, size) for key, value in state.items() if torch.is_tensor(value) and value.shape == flat.shape}


def flat_parts(zero: Any, stage: int) -> list[Any]:
    """The flat tensors that the inner optimizer moves."""
    return list(zero.fp32_partitioned_groups_flat if stage == 3 else zero.single_partition_of_fp32_groups)


def pieces(zero: Any, named: Named, mesh: Mesh, stage: int) -> list[Piece]:
    """All of this process's state."""
    found = []
    for fragment in fragments(zero, named, mesh, stage):
        found.append(Piece(f"model.{fragment.name}", fragment.box, fragment.weights.detach()))
        found += [Piece(f"optimizer.{fragment.name}.{key}", fragment.box, value.detach()) for key, value in fragment.state.items()]
    counts = [zero.optimizer.state[flat]["step"] for flat in flat_parts(zero, stage) if "step" in zero.optimizer.state.get(flat, {})]
    if counts:
        step = torch.tensor(float(counts[0]))
        found += [Piece(f"optimizer.{name}.step", SCALAR, step, mesh.data_rank == 0) for name, _ in named]
    return found


def fill(zero: Any, named: Named, mesh: Mesh, stage: int, names: set[str], read: Read) -> None:
    """Puts a checkpoint into the flat buffers and into the weights that compute."""
    if any(name.startswith("optimizer.") for name in names):
        start_state(zero, named, stage, read)
    for fragment in fragments(zero, named, mesh, stage):
        fragment.weights.copy_(read(f"model.{fragment.name}", fragment.box))
        for key, value in fragment.state.items():
            value.copy_(read(f"optimizer.{fragment.name}.{key}", fragment.box))
        if stage == 3:
            fragment.parameter.ds_tensor.narrow(0, 0, fragment.weights.numel()).copy_(fragment.weights)
    for name, parameter in named:
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        if parameter.data.numel() == torch.Size(shape).numel():  # whole here: stages 1 and 2, and what stage 3 finds too small to cut
            parameter.data.copy_(read(f"model.{name}", Box(shape, (0,) * len(shape), shape)))


def start_state(zero: Any, named: Named, stage: int, read: Read) -> None:
    """Makes the inner optimizer's state, which it would make at its first step."""
    step = read(f"optimizer.{named[0][0]}.step", SCALAR)
    for flat in flat_parts(zero, stage):
        fused = isinstance(zero.optimizer, torch.optim.AdamW)
        zero.optimizer.state[flat] = {
            "step": step.clone().to(flat.device) if fused else int(step),
            "exp_avg": torch.zeros_like(flat, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(flat, requires_grad=False),
        }
