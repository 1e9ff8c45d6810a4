"""Attention over a paged cache on the CPU: each row looks at its own keys only, where the library's mask would hide all others'."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late
from torch.nn.attention.bias import causal_lower_right  # noqa: TID253
from transformers import AttentionInterface  # noqa: TID253
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: TID253

NAME = "llmops_rows"


class Group(NamedTuple):
    """Rows of like length, which one call attends for."""

    rows: torch.Tensor | None
    """Their places in the batch; None: all of it."""
    pages: torch.Tensor
    """Numbers of their pages, row after row, each row with as many as the longest has."""
    mask: torch.Tensor
    """Shape [rows, 1, 1, tokens]: minus infinity behind the end of a row."""


class Decoding(NamedTuple):
    """Where a step that adds one token to every row reads and writes."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of each layer, of shape [pages, tokens, heads, size]."""
    places: torch.Tensor
    """Where in the cache each row's new token goes."""
    groups: list[Group]
    stale: torch.Tensor | None
    """Places behind the ends of rows that hold what others left there: a number that is none would pass every mask."""


class Buffers:
    """Memory for gathered keys and values that is used again: what the allocator gives back each time costs a page fault each 4 KiB."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def gather(self, name: str, pages: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Copies of some pages."""
        wanted = numbers.numel() * pages[0].numel()
        if name not in self._kept or self._kept[name].numel() < wanted or self._kept[name].dtype != pages.dtype:
            self._kept[name] = torch.empty(2 * wanted, dtype=pages.dtype)
        out = self._kept[name][:wanted].view(numbers.numel(), *pages.shape[1:])
        return torch.index_select(pages, 0, numbers, out=out)


BUFFERS = Buffers()  # one thread steps all batches of a process


class Planner:
    """Plans the steps of a batch from the pages of its rows."""

    def __init__(self, cache: list[tuple[torch.Tensor, torch.Tensor]], stride: int) -> None:
        self._cache = cache
        self._stride = stride  # pages from one number to the next: those of all layers lie between
        self._page_tokens = cache[0][0].shape[1]
        self._cleaned: dict[str, int] = {}

    def plan(self, tables: Mapping[str, list[int]], lengths: Mapping[str, int]) -> Decoding:
        """The plan of a step, from each row's page numbers and its length with the new token, in the order of the batch."""
        pages = {row: (length - 1) // self._page_tokens for row, length in lengths.items()}
        places = [
            tables[row][page] * self._stride * self._page_tokens + (lengths[row] - 1) % self._page_tokens for row, page in pages.items()
        ]
        known, ends = list(tables.values()), list(lengths.values())
        groups = [
            self._group([known[row] for row in rows], [ends[row] for row in rows], rows if len(rows) < len(ends) else None)
            for rows in like_rows([page + 1 for page in pages.values()])
        ]
        return Decoding(self._cache, torch.tensor(places), groups, self._stale(pages, places))

    def _group(self, tables: list[list[int]], lengths: list[int], rows: list[int] | None) -> Group:
        num_pages = -(-max(lengths) // self._page_tokens)
        # a short row's first page stands for those it lacks: it will do behind the mask
        pages = [page for table in tables for page in (*table[:num_pages], *table[:1] * (num_pages - len(table)))]
        beyond = torch.arange(num_pages * self._page_tokens) >= torch.tensor(lengths)[:, None]
        mask = torch.zeros(beyond.shape, dtype=self._cache[0][0].dtype).masked_fill_(beyond, -torch.inf)[:, None, None]
        return Group(None if rows is None else torch.tensor(rows), torch.tensor(pages) * self._stride, mask)

    def _stale(self, pages: dict[str, int], places: list[int]) -> torch.Tensor | None:
        """What lies behind the new token in the pages that rows have come to with it.

        It is cleaned once a page, which costs nothing beside reading around it in every step.
        """
        rows = zip(pages.items(), places, strict=True)
        ends = [place for (row, page), place in rows if self._cleaned.get(row) != page]
        self._cleaned = pages
        stale = [place for end in ends for place in range(end + 1, (end // self._page_tokens + 1) * self._page_tokens)]
        return torch.tensor(stale) if stale else None


def like_rows(num_pages: list[int]) -> list[list[int]]:
    """Rows to attend together, by their numbers of pages: all of them, unless more than half of what is gathered were padding."""
    if max(num_pages) * len(num_pages) <= 2 * sum(num_pages):
        return [list(range(len(num_pages)))]
    members = defaultdict(list)
    for row, pages in enumerate(num_pages):
        members[(pages - 1).bit_length()].append(row)  # within a factor of two
    return list(members.values())


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    decoding: Decoding | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of rows that lie one after the other, all of shape [1, heads, tokens, size]; without a cache it is the library's own."""
    cache = kwargs.get("cache")
    if cache is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return plain
    layer: int = module.layer_idx  # type: ignore[assignment]
    if decoding is not None:
        return attend_pages(query, key, value, *decoding.cache[layer], decoding, scaling), None
    key, value = cache.update(key, value, layer, kwargs)
    num_queries, num_keys = kwargs["cu_seq_lens_q"].diff().tolist(), kwargs["cu_seq_lens_k"].diff().tolist()
    queries, keys, values = (
        torch.split(states, lengths, 2) for states, lengths in ((query, num_queries), (key, num_keys), (value, num_keys))
    )
    window = kwargs.get("sliding_window")
    attended = [attend_row(*row, scaling=scaling, window=window) for row in zip(queries, keys, values, strict=True)]
    return torch.cat(attended, 2).transpose(1, 2).contiguous(), None


def attend_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float | None, window: int | None) -> torch.Tensor:
    """One row: its last tokens ask, and all of its tokens are looked at, or so many up to the one that asks."""
    asking, known = query.shape[2], key.shape[2]
    mask: torch.Tensor | None = causal_lower_right(asking, known) if 1 < asking < known else None
    if window is not None and known > window:
        behind = torch.arange(known - asking, known)[:, None] - torch.arange(known)  # of each key, seen from each query
        mask = (behind >= 0) & (behind < window)
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and 1 < asking == known,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def attend_pages(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    decoding: Decoding,
    scaling: float | None,
) -> torch.Tensor:
    """One new token of each row, written into the pages [pages, tokens, heads, size]; the answer has shape [1, rows, heads, size]."""
    heads, size = keys.shape[2:]
    for pages, states in ((keys, key), (values, value)):
        places = pages.view(-1, heads, size)
        places.index_copy_(0, decoding.places, states[0].transpose(0, 1))
        if decoding.stale is not None:
            places.index_fill_(0, decoding.stale, 0)
    # the queries that share a key head stand where tokens stand, which needs no repeated keys
    asked = query[0].transpose(0, 1).reshape(query.shape[2], heads, -1, size)
    attended = [attend_group(asked, keys, values, group, scaling) for group in decoding.groups]
    if len(attended) == 1:
        return attended[0].reshape(1, query.shape[2], -1, size)
    whole = torch.empty_like(asked)
    for group, part in zip(decoding.groups, attended, strict=True):
        whole[group.rows] = part
    return whole.view(1, query.shape[2], -1, size)


def attend_group(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, group: Group, scaling: float | None) -> torch.Tensor:
    """The rows of one group, of shape [rows, key heads, queries of a head, size]."""
    if group.rows is not None:
        asked = asked[group.rows]
    key, value = (
        BUFFERS.gather(name, pages, group.pages).view(len(asked), -1, *pages.shape[2:]).transpose(1, 2)
        for name, pages in (("keys", keys), ("values", values))
    )
    return torch.nn.functional.scaled_dot_product_attention(asked, key, value, attn_mask=group.mask, scale=scaling)


AttentionInterface.register(NAME, attend)
