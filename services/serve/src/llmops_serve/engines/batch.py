"""Continuous batching with paged keys and values: transformers' scheduler and cache, stepped by us, with our choice of tokens.

The library's manager runs a thread of its own and knows neither seeds nor penalties nor stop sequences. Its processor below it
takes prompts in pieces, shares the pages of equal beginnings, and frees the pages of rows that leave; only the last step, which
token comes next, is ours.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late
from transformers import ContinuousBatchingConfig, GenerationConfig  # noqa: TID253
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager  # noqa: TID253
from transformers.generation.continuous_batching.model_runner import ModelRunner  # noqa: TID253

from llmops_serve.engines import attention
from llmops_serve.engines.row import Row
from llmops_serve.engines.sampling import Choice, choose_all, prompt_logprobs
from llmops_serve.engines.virtual import VirtualTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAGE_TOKENS = 32
MAX_STEP_TOKENS = 512  # tokens of prompts and answers in one step, so that a long prompt does not hold up running answers
FOREVER_S = 10 * 365 * 86400.0  # an idle server is no reason for a group of processes to give up


class Room(NamedTuple):
    """What a batch may take."""

    max_rows: int
    max_tokens: int
    """Longest row."""
    cache_bytes: int
    """Memory for keys and values; room for one longest row is taken in any case."""


class Batch:
    """The rows a model is stepping together. Call it under `torch.no_grad`: the library writes in place, which inference mode forbids."""

    def __init__(self, model: "PreTrainedModel", room: Room, virtual: VirtualTokens | None = None) -> None:
        self._model = model
        self._virtual = virtual
        self.rows: dict[str, Row] = {}
        self._number = self._num_active = 0
        model.set_attn_implementation("sdpa")
        self._manager = ContinuousBatchingManager(
            model=model,
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            continuous_batching_config=settings(model, room, virtual),
        )
        model.set_attn_implementation(attention.NAME)
        # the library reads tables of pages with flash attention on GPUs only and turns them off; ours reads them as well
        self._manager.continuous_batching_config.max_blocks_per_request = num_pages_of(room, virtual)
        self._processor = self._manager._create_batch_processor()
        self._manager.batch_processor = self._processor
        self._runner = Runner(self._processor, self.rows)
        self._processor.model_runner = self._runner
        if virtual is not None:
            virtual.put_into(self._processor.cache, self._processor.inputs_and_outputs)

    def join(self, rows: Sequence[Row]) -> None:
        """Adds rows; each gets its first token as soon as there is room for it."""
        for row in rows:
            self._number += 1
            if row.sampling.prompt_logprobs:
                # ours has no masks of whole prompts, which a model that looks back so far only needs
                self._model.set_attn_implementation("sdpa")
                row.prompt_logprobs = prompt_logprobs(self._model, row.prompt_ids)
                self._model.set_attn_implementation(attention.NAME)
            self.rows[str(self._number)] = row
            ids = row.prompt_ids if self._virtual is None else [*self._virtual.token_ids, *row.prompt_ids]
            self._manager.add_request(ids, request_id=str(self._number), max_new_tokens=None)

    def step(self) -> list[tuple[Row, Choice]]:
        """The next token of every row whose prompt is read; none while there is only reading to do."""
        self._runner.chosen = []
        scheduler = self._processor.scheduler
        if len(scheduler.active_requests) < self._num_active:
            scheduler.block_new_requests = False  # it lets nobody in once pages ran out, until one ends by itself, which ours never do
        self._num_active = len(scheduler.active_requests)
        if self._processor.prepare_next_batch():
            self._processor._generation_step(self._model)
            self._processor.update_batch()
        return self._runner.chosen

    def leave(self, gone: Sequence[Row]) -> None:
        """Takes rows out and frees their pages."""
        rows = {id(row) for row in gone}
        left = [number for number, row in self.rows.items() if id(row) in rows]
        for number in left:
            del self.rows[number]
            self._manager.cancel_request(number)
        if left and not self.rows:
            self._processor.prepare_next_batch()  # there is no next step that would free the pages

    def clear(self) -> None:
        """Drops every row, after a failure in the middle of a step."""
        self.rows.clear()
        self._processor.reset()

    @property
    def num_free_pages(self) -> int:
        """Pages that no row holds."""
        pool = self._processor.cache.pool
        return int(pool.num_free_sectors * pool.blocks_per_sector[0] + pool.count_free_blocks(0))


class Runner(ModelRunner):  # type: ignore[misc]
    """The library's step with our choice of tokens at its end."""

    def __init__(self, processor: "object", rows: dict[str, Row]) -> None:
        before = processor.model_runner  # type: ignore[attr-defined]
        super().__init__(
            logit_processor=before.logit_processor,
            cb_config=before.cb_config,
            inputs_and_outputs=before.inputs_and_outputs,
            cache=before.cache,
            do_sample=False,
            return_logprobs=False,
        )
        self._rows = rows
        self._helper = processor.distributed_helper  # type: ignore[attr-defined]
        self.chosen: list[tuple[Row, Choice]] = []
        allocators = list(self.cache.cache_allocators.values())
        if len(allocators) == 1 and allocators[0].supports_block_table:
            layers = allocators[0].layer_indices
            self._pages = allocators[0].block_table
            self._planner = attention.Planner(
                [allocators[0].get_cache_for_block_table(layer) for layer in layers], allocators[0].block_physical_stride // PAGE_TOKENS
            )
            self.cache.fill_block_table = unread

    def compute_batch(self, model: "PreTrainedModel", batch_data: dict[str, Any]) -> None:
        """A step that adds one token to every row is planned once for all layers; others bring indices of each token."""
        if batch_data["block_table"] is not None:
            states = [future.state for future in self.inputs_and_outputs.requests_in_batch]
            tables = {state.request_id: self._pages[state.request_id] for state in states}
            batch_data["decoding"] = self._planner.plan(tables, {state.request_id: state.position_offset for state in states})
        super().compute_batch(model, batch_data)

    def _sample(self, scores: torch.Tensor, output_ids: torch.Tensor) -> None:
        """Scores have shape [1, rows in the step, vocabulary]; the rows with a token come first."""
        ids = [future.state.request_id for future in self.inputs_and_outputs.requests_in_batch if future.has_new_token]
        tokens = output_ids[0, : len(ids)]
        if self._helper.is_tp_driver and ids:
            rows = [self._rows[number] for number in ids]
            choices = choose_all([row.chooser for row in rows], [row.token_ids for row in rows], scores[0, : len(ids)])
            tokens.copy_(torch.tensor([choice.token_id for choice in choices], dtype=tokens.dtype))
            for row, choice in zip(rows, choices, strict=True):
                row.token_ids.append(choice.token_id)
            self.chosen = list(zip(rows, choices, strict=True))
        self._helper.tp_broadcast_from_rank_0(tokens)


def unread(*_: object) -> None:
    """The library's table of pages, filled row by row in every step; the plan of a step needs the lists it comes from only."""


def settings(model: "PreTrainedModel", room: Room, virtual: VirtualTokens | None) -> ContinuousBatchingConfig:
    """What the library wants to know, for on a CPU it cannot ask how much memory there is."""
    longest = longest_row(room, virtual)
    wanted = min(room.max_rows * longest, room.cache_bytes // bytes_per_token(model))
    num_pages = max(-(-wanted // PAGE_TOKENS), num_pages_of(room, virtual))
    return ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=num_pages,
        max_batch_tokens=max(MAX_STEP_TOKENS, room.max_rows),
        max_requests_per_batch=room.max_rows,
        use_async_batching=False,
        use_cuda_graph=False,
        auto_switch_to_flash=False,
        cpu_group_timeout=FOREVER_S,
    )


def longest_row(room: Room, virtual: VirtualTokens | None) -> int:
    """Tokens of the longest row, the learned ones before its prompt included."""
    return room.max_tokens + (len(virtual.token_ids) if virtual else 0)


def num_pages_of(room: Room, virtual: VirtualTokens | None) -> int:
    """Pages of the longest row, and one for the token after it."""
    return -(-longest_row(room, virtual) // PAGE_TOKENS) + 1


def bytes_per_token(model: "PreTrainedModel") -> int:
    """Keys and values of one token in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)
