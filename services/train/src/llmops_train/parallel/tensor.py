"""Tensor parallelism: each block's matrices over neighbouring processes, after the plan that the model's own config brings."""

from typing import Any

import torch  # noqa: TID253 - this module is imported late
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.parallel.mesh import Mesh

STYLES: dict[str, type[ParallelStyle]] = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}


def split_matrices(model: Any, blocks: list[torch.nn.Module], mesh: Mesh) -> None:
    """Splits the blocks' matrices by columns and rows; embeddings and norms stay whole. Raises LlmopsError where that fails."""
    plan = plan_of(model)
    check_sizes(model, mesh.tensor)
    for block in blocks:
        parallelize_module(block, mesh.devices["tensor"], {name: STYLES[style]() for name, style in plan.items()})


def plan_of(model: Any) -> dict[str, str]:
    """Style by name within a block, from transformers' plan of the model. Raises LlmopsError for a style we do not know."""
    plan = getattr(model.config, "base_model_tp_plan", None) or {}
    inside = {name.split(".*.", 1)[1]: style for name, style in plan.items() if ".*." in name}
    unknown = {style for style in inside.values() if style not in STYLES}
    if not inside or unknown:
        raise LlmopsError(
            f"parallel.tensor: {type(model).__name__} has {'styles ' + ', '.join(sorted(unknown)) if unknown else 'no plan'} in its "
            f"base_model_tp_plan, and only {' and '.join(STYLES)} are known here; use parallel.tensor=1"
        )
    return inside


def check_sizes(model: Any, size: int) -> None:
    """Raises LlmopsError when heads or columns do not come out even."""
    config = model.config
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        value = getattr(config, name, None)
        if value is not None and value % size:
            raise LlmopsError(f"parallel.tensor {size}: does not divide the model's {name} {value}")
