"""Weights of linear layers in the order in which oneDNN reads them: a fifth less time for the few rows of a step."""

import torch  # noqa: TID253 - this module is imported late

FEW_ROWS = 8  # the number of rows the order is chosen for; any other number works as well
SMALLEST = 2**17  # weights; the call costs more than it saves below


class PackedLinear(torch.nn.Module):
    """A linear layer of float32 that holds nothing but its packed weights."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), FEW_ROWS)
        self._bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        packed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, "none", [], "")
        return packed


def pack_linears(model: torch.nn.Module) -> None:
    """Packs the larger plain linear layers of a model that is only read; where PyTorch has no oneDNN they stay as they are."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    packed: dict[torch.nn.Module, PackedLinear] = {}  # merged layers are in several places
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32 and layer.weight.numel() >= SMALLEST:
                if layer not in packed:
                    packed[layer] = PackedLinear(layer)
                setattr(module, name, packed[layer])
