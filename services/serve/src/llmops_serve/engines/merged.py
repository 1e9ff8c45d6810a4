"""Linear layers that read the same states as one layer, whose product is cut up: with few rows its start costs as much as its work."""

import torch  # noqa: TID253 - this module is imported late

from llmops_serve.engines.packed import SMALLEST

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names that transformers' models give to layers that read the same states."""


class Product:
    """What the first layer that is asked makes for all; each takes its part once. No module, whose attributes cost as much as a product."""

    __slots__ = ("parts", "states", "version")

    def __init__(self) -> None:
        self.states: torch.Tensor | None = None
        self.version = -1
        self.parts: dict[int, torch.Tensor] = {}


class Part(torch.nn.Module):
    """One of several merged layers, in its place. All of them have the weights of all, one below the other, and the product."""

    def __init__(self, whole: torch.nn.Linear, sizes: list[int], number: int, product: Product) -> None:
        super().__init__()
        self.whole, self.sizes, self.number, self.product = whole, sizes, number, product

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        product, number = self.product, self.number
        if states is not product.states or states._version != product.version or number not in product.parts:
            product.parts = dict(enumerate(torch.split_with_sizes(self.whole(states), self.sizes, -1)))
            product.states, product.version = states, states._version
        part = product.parts.pop(number)
        if not product.parts:
            product.states = None  # nothing is kept alive from one step to the next
        return part


def merged(layers: list[torch.nn.Linear]) -> list[Part]:
    """The layers' places, over weights that are theirs no more."""
    first, sizes = layers[0], [layer.out_features for layer in layers]
    whole = torch.nn.Linear(first.in_features, sum(sizes), bias=first.bias is not None, device="meta")
    whole.weight = torch.nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    if first.bias is not None:
        whole.bias = torch.nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    product = Product()
    return [Part(whole, sizes, number, product) for number in range(len(layers))]


def merge_linears(model: torch.nn.Module) -> None:
    """Merges what can be merged in a model that is only read; the layers' own weights are freed on the way."""
    for module in list(model.modules()):
        for names in TOGETHER:
            layers = [getattr(module, name, None) for name in names]
            if are_alike(layers) and sum(layer.weight.numel() for layer in layers) >= SMALLEST:  # type: ignore[union-attr]
                for name, part in zip(names, merged(layers), strict=True):  # type: ignore[arg-type]
                    setattr(module, name, part)


def are_alike(layers: list[torch.nn.Module | None]) -> bool:
    """Whether they are plain linear layers of one width and number format, all with a bias or all without."""
    kinds = {
        (layer.in_features, layer.weight.dtype, layer.weight.device, layer.bias is None) if type(layer) is torch.nn.Linear else None
        for layer in layers
    }
    return len(kinds) == 1 and None not in kinds
