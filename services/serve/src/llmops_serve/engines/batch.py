"""Continuous batching: rows join and leave a running batch between two tokens.

The keys and values of all rows lie in one cache, aligned at the right and padded at the left. A new row is filled in by
itself and then joined to the cache; when rows leave, their part is dropped and the padding that nobody needs is cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch  # noqa: TID253 - this module is imported late
from transformers import DynamicCache  # noqa: TID253

from llmops_serve.engines.engine import Sampling
from llmops_serve.engines.sampling import Choice, Chooser, choose_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Row:
    """One answer in the making."""

    prompt_ids: list[int]
    sampling: Sampling
    chooser: Chooser = field(init=False)
    token_ids: list[int] = field(init=False)
    prompt_logprobs: list[float | None] | None = None

    def __post_init__(self) -> None:
        self.chooser = Chooser(self.sampling)
        self.token_ids = list(self.prompt_ids)

    @property
    def num_new_tokens(self) -> int:
        return len(self.token_ids) - len(self.prompt_ids)


class Batch:
    """The rows a model is stepping together. Call it under `torch.inference_mode`."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self._model = model
        self.rows: list[Row] = []
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def join(self, rows: Sequence[Row]) -> list[Choice]:
        """Reads the prompts of new rows and returns their first tokens; the rows are part of the batch from now on."""
        longest = max(len(row.prompt_ids) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, longest - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
            mask[index, longest - len(row.prompt_ids) :] = 1
        wants_all = any(row.sampling.prompt_logprobs for row in rows)
        cache = DynamicCache()
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=0 if wants_all else 1,
        ).logits
        for index, row in enumerate(rows):
            if row.sampling.prompt_logprobs:
                row.prompt_logprobs = prompt_logprobs(logits[index, longest - len(row.prompt_ids) :], row.prompt_ids)
        choices = self._choose(rows, logits[:, -1])
        self._merge(cache, mask)
        self.rows.extend(rows)
        return choices

    def step(self) -> list[Choice]:
        """The next token of every row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        logits = self._model(
            input_ids=torch.tensor([[row.token_ids[-1]] for row in self.rows]),
            attention_mask=self._mask,
            position_ids=torch.tensor([[len(row.token_ids) - 1] for row in self.rows]),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return self._choose(self.rows, logits[:, -1])

    def leave(self, gone: Sequence[Row]) -> None:
        """Takes rows out."""
        left = {id(row) for row in gone}
        keep = [index for index, row in enumerate(self.rows) if id(row) not in left]
        self.rows = [self.rows[index] for index in keep]
        if not keep:
            self.clear()
            return
        mask = self._mask[keep]
        begin = mask.shape[1] - int(mask.sum(1).max())  # columns that are padding in every row that stays
        self._mask = mask[:, begin:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[keep][:, :, begin:], layer.values[keep][:, :, begin:]

    def clear(self) -> None:
        """Drops every row."""
        self.rows = []
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[Choice]:
        choices = choose_all([row.chooser for row in rows], [row.token_ids for row in rows], logits)
        for row, choice in zip(rows, choices, strict=True):
            row.token_ids.append(choice.token_id)
        return choices

    def _merge(self, cache: DynamicCache, mask: torch.Tensor) -> None:
        """Joins the cache of new rows to the batch's, the shorter one padded at the left."""
        if not self.rows:
            self._cache, self._mask = cache, mask
            return
        width = max(self._mask.shape[1], mask.shape[1])
        self._mask = torch.cat([pad(self._mask, width, 1), pad(mask, width, 1)])
        for old, new in zip(self._cache.layers, cache.layers, strict=True):
            old.keys = torch.cat([pad(old.keys, width, 2), pad(new.keys, width, 2)])
            old.values = torch.cat([pad(old.values, width, 2), pad(new.values, width, 2)])


def pad(tensor: torch.Tensor, width: int, dimension: int) -> torch.Tensor:
    """The tensor with zeros in front along one dimension."""
    missing = width - tensor.shape[dimension]
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dimension] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim=dimension)


def prompt_logprobs(logits: torch.Tensor, prompt_ids: Sequence[int]) -> list[float | None]:
    """Log-probability of each token of a prompt, from logits of shape [tokens, vocabulary]; None for the first."""
    logprobs = logits[:-1].float().log_softmax(-1)
    return [None, *logprobs.gather(1, torch.tensor(prompt_ids[1:])[:, None])[:, 0].tolist()]
