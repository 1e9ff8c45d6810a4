"""A batch for each adapter of a model, stepped in turns, for in one step all rows pass through the same weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmops_serve.engines.adapters import AdaptedModel
from llmops_serve.engines.batch import Batch, Room
from llmops_serve.engines.merged import merge_linears
from llmops_serve.engines.messages import WorkerSettings
from llmops_serve.engines.packed import pack_linears
from llmops_serve.engines.row import Row
from llmops_serve.engines.sampling import Choice
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Batches:
    """The rows of all adapters."""

    def __init__(self, settings: WorkerSettings, model: "PreTrainedModel") -> None:
        whole = settings.quantize is None and settings.tensor_parallel == 1
        if not whole and (settings.adapter is not None or settings.adapters):
            raise LlmopsError(f"{settings.model}: adapters are served over a whole model only; leave quantize and tensor_parallel out")
        self._adapted = AdaptedModel(model, settings.adapter, settings.adapters, foldable=whole)
        if whole and self._adapted.is_plain:
            merge_linears(self._adapted.model)
            pack_linears(self._adapted.model)
        self._room = Room(settings.max_batch_size, settings.max_total_tokens, settings.cache_bytes // (1 + len(settings.adapters)))
        self._is_split = settings.tensor_parallel > 1
        self._batches: dict[str | None, Batch] = {}
        self._batch(None)

    def join(self, row: Row) -> None:
        """Adds a row to the batch of its adapter."""
        batch = self._batch(row.sampling.adapter)
        self._adapted.use(row.sampling.adapter)  # a prompt whose log-probabilities are asked for is read at once
        batch.join([row])

    def step(self) -> list[tuple[Row, Choice]]:
        """One step of each batch that has rows."""
        chosen: list[tuple[Row, Choice]] = []
        for name, batch in self._batches.items():
            if batch.rows or self._is_split:  # a process that follows has no rows of its own, and must step with the first
                self._adapted.use(name)
                chosen += batch.step()
        return chosen

    def leave(self, rows: Sequence[Row]) -> None:
        """Takes rows out."""
        for batch in self._batches.values():
            batch.leave(rows)

    def clear(self) -> None:
        """Drops every row."""
        for batch in self._batches.values():
            batch.clear()

    def _batch(self, name: str | None) -> Batch:
        if name not in self._batches:
            self._adapted.use(name)
            self._batches[name] = Batch(self._adapted.model, self._room, self._adapted.adapters[name].virtual)
        return self._batches[name]
