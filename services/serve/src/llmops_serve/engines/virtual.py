"""Virtual tokens: prompts and prefixes that were learned instead of written, as further entries of the vocabulary.

Prompt tuning puts vectors in front of the prompt's embeddings, prefix tuning keys and values in front of the prompt's own. With a
number for each of them a prompt is still a list of tokens, and batching, paging and page sharing need not know the difference.
"""

from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, of shape [heads, virtual tokens, size]."""


class VirtualTokens:
    """What stands in front of every prompt of an adapter."""

    def __init__(self, first_id: int, num_tokens: int, layers: Layers | None) -> None:
        self.token_ids = list(range(first_id, first_id + num_tokens))
        self._layers = layers

    def put_into(self, cache: Any, inputs: Any) -> None:
        """Makes a paged cache store the learned keys and values wherever a virtual token is read; prompt tuning has none."""
        if self._layers is None:
            return
        first_id, layers, update = self.token_ids[0], self._layers, cache.update

        def learned(keys: torch.Tensor, values: torch.Tensor, layer: int, kwargs: Any) -> Any:
            ids = inputs.input_ids[: keys.shape[2]]
            places = (ids >= first_id).nonzero()[:, 0]
            if len(places):
                numbers = ids[places] - first_id
                for states, known in zip((keys, values), layers[layer], strict=True):
                    states[0, :, places] = known[:, numbers].to(states.dtype)
            return update(keys, values, layer, kwargs)

        cache.update = learned


def add_vectors(model: "PreTrainedModel", vectors: torch.Tensor) -> int:
    """Appends vectors of shape [tokens, hidden size] to the input embeddings and returns the first one's number."""
    before = model.get_input_embeddings()
    weight = torch.cat([before.weight.detach(), vectors.to(before.weight.dtype)])
    # a new module: where input and output share their weights, the output keeps the vocabulary it has
    model.set_input_embeddings(torch.nn.Embedding(weight.shape[0], weight.shape[1], _weight=weight, _freeze=True))
    return int(before.weight.shape[0])
