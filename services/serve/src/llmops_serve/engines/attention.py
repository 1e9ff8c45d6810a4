"""Attention over a paged cache on the CPU: each row looks at its own keys only, where the library's mask would hide all others'."""

from typing import Any

import torch  # noqa: TID253 - this module is imported late
from torch.nn.attention.bias import causal_lower_right  # noqa: TID253
from transformers import AttentionInterface  # noqa: TID253
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: TID253

NAME = "llmops_rows"


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of rows that lie one after the other, all of shape [1, heads, tokens, size]; without a cache it is the library's own."""
    cache = kwargs.get("cache")
    if cache is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return plain
    key, value = cache.update(key, value, module.layer_idx, kwargs)
    num_queries, num_keys = kwargs["cu_seq_lens_q"].diff().tolist(), kwargs["cu_seq_lens_k"].diff().tolist()
    queries, keys, values = (
        torch.split(states, lengths, 2) for states, lengths in ((query, num_queries), (key, num_keys), (value, num_keys))
    )
    attended = [attend_row(*row, scaling=scaling) for row in zip(queries, keys, values, strict=True)]
    return torch.cat(attended, 2).transpose(1, 2).contiguous(), None


def attend_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float | None) -> torch.Tensor:
    """One row: its last tokens ask, all of its tokens are looked at."""
    asking, known = query.shape[2], key.shape[2]
    mask = causal_lower_right(asking, known) if 1 < asking < known else None
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=1 < asking == known, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )


AttentionInterface.register(NAME, attend)
