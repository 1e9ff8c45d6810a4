"""State of weights and optimizers under the names of the model that nothing splits."""

from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_train.checkpoint.piece import Read, box_of, whole_box

Named = list[tuple[str, torch.nn.Parameter]]


def trained(model: torch.nn.Module, prefix: str = "") -> Named:
    """Names and parameters that learn; `prefix` is what a wrapper put in front of the names."""
    # activation checkpointing of torch and SMP's FSDP put words of their own between
    return [(name.removeprefix(prefix), parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def optimizer_tensors(named: Named, optimizers: list[torch.optim.Optimizer]) -> list[tuple[str, Any]]:
    """Each parameter's tensors in the optimizer that moves it."""
    return [
        (f"optimizer.{name}.{key}", value)
        for name, parameter in named
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    ]


def fill_optimizers(named: Named, optimizers: list[torch.optim.Optimizer], names: set[str], read: Read) -> None:
    """Makes and fills each parameter's optimizer state as the checkpoint has it; before the first step there is none."""
    keys: dict[str, list[str]] = {}
    for name in names:
        parameter_name, _, key = name.removeprefix("optimizer.").rpartition(".")
        if name.startswith("optimizer."):
            keys.setdefault(parameter_name, []).append(key)
    for name, parameter in named:
        owner = next(one for one in optimizers if any(parameter is other for group in one.param_groups for other in group["params"]))
        for key in keys.get(name, []):
            owner.state[parameter][key] = restored(f"optimizer.{name}.{key}", key, parameter, read)


def restored(name: str, key: str, parameter: Any, read: Read) -> torch.Tensor:
    """One tensor of an optimizer's state, split as its parameter is; AdamW's count of steps is a number of its own."""
    from torch.distributed.tensor import DTensor

    if key == "step":
        # fused AdamW counts on the parameter's device
        return read(name, whole_box(torch.zeros(()))).to(parameter.device)
    tensor = torch.zeros_like(parameter, requires_grad=False)
    if isinstance(tensor, DTensor):
        box = box_of(tensor)
        if not box.empty:
            tensor.to_local().copy_(read(name, box))
    else:
        tensor.copy_(read(name, whole_box(tensor)))
    return tensor.detach()
