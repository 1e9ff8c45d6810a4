"""The loss of direct preference optimization (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290) over packed pairs."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_train.config import TrainConfig
from llmops_train.data import IGNORED, Batch
from llmops_train.loss import autocast
from llmops_train.method_config import DpoConfig
from llmops_train.methods.adapters import thin
from llmops_train.methods.virtual import logits_of


class Preference:
    """The loss against a reference that never learns: the base with its adapter off, or a frozen copy of the whole model.

    In a packed sequence documents 1 and 2, 3 and 4, ... are pairs, the chosen conversation first.
    """

    def __init__(self, model: Any, config: TrainConfig) -> None:
        self.settings = config.dpo or DpoConfig()
        self.copy: Any = None
        self.seen = [0.0, 0.0, 0.0]  # pairs, those told apart rightly, sum of their margins
        if config.adapter is None:
            self.copy = copy.deepcopy(model).eval().requires_grad_(False)
            if config.dtype == "bfloat16":
                thin(self.copy)

    def loss(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[torch.Tensor, int]:
        """Summed loss over the pairs of a batch, and their number."""
        learnt = log_likelihoods(model, batch, config)
        with torch.no_grad(), self.reference(model, batch.input_ids.device) as reference:
            known = log_likelihoods(reference, batch, config)
        gains = (learnt - known).view(-1, 2)[complete(batch)]
        margins = self.settings.beta * (gains[:, 0] - gains[:, 1])
        logsigmoid, smoothing = torch.nn.functional.logsigmoid, self.settings.label_smoothing
        losses = -(1 - smoothing) * logsigmoid(margins) - smoothing * logsigmoid(-margins)
        if torch.is_grad_enabled():
            told = margins.detach()
            found = (len(told), float((told > 0).sum()), float(told.sum()))
            self.seen = [before + now for before, now in zip(self.seen, found, strict=True)]
        return losses.sum(), len(margins)

    def count(self, batch: Batch) -> int:
        """The number `loss` will give, known before the forward pass."""
        return int(complete(batch).sum())

    @contextmanager
    def reference(self, model: Any, device: torch.device) -> Iterator[Any]:
        """The model that answers are compared with."""
        if self.copy is not None:
            self.copy = self.copy.to(device)
            yield self.copy
            return
        with model.disable_adapter():
            yield model

    def figures(self, total: Callable[[list[float]], list[float]]) -> dict[str, float]:
        """Share of the pairs that were told apart rightly since the last time, and their mean margin in nats times beta.

        `total` adds up over all processes, which call this together.
        """
        pairs, right, margins = total(self.seen)
        self.seen = [0.0, 0.0, 0.0]
        return {"preference_accuracy": right / pairs, "preference_margin": margins / pairs} if pairs else {}


def log_likelihoods(model: Any, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """Log-likelihood of the targets of each document of each sequence, in nats, shape [rows * documents]; an even number a row."""
    wanted = batch.labels != IGNORED
    with autocast(batch.input_ids.device, config):
        logits = logits_of(model, batch, wanted)
    each = -torch.nn.functional.cross_entropy(logits.float(), batch.labels[wanted], reduction="none")
    places, total = documents(batch)
    return torch.zeros(total, device=each.device).index_add(0, places[wanted], each)


def complete(batch: Batch) -> torch.Tensor:
    """Which pairs of documents have targets in both."""
    places, total = documents(batch)
    has_targets = torch.zeros(total, dtype=torch.bool, device=places.device)
    has_targets[places[batch.labels != IGNORED]] = True
    return has_targets.view(-1, 2).all(dim=1)


def documents(batch: Batch) -> tuple[torch.Tensor, int]:
    """Which document of the batch each token is of, the padding of a row being one, and their number; the same even number a row."""
    numbers = (batch.position_ids == 0).cumsum(dim=1) - 1
    most = int(numbers.max()) + 1
    each = most + most % 2
    rows = len(numbers)
    return numbers + torch.arange(rows, device=numbers.device)[:, None] * each, rows * each
