"""What a method minimizes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late

from llmops_train.config import TrainConfig
from llmops_train.data import Batch
from llmops_train.loss import count_targets, summed_loss
from llmops_train.methods.preference import Preference


class Objective(NamedTuple):
    """The loss of a batch, and what is told about it."""

    loss: Callable[[Any, Batch, TrainConfig], tuple[torch.Tensor, int]]
    """Summed over the batch's targets (pairs, for `dpo`), and their number."""
    count: Callable[[Batch], int]
    """That number, known before the forward pass."""
    figures: Callable[[Callable[[list[float]], list[float]]], dict[str, float]]
    """Further figures of the steps since the last call, given what adds up over the processes, all of which call it."""


NEXT_TOKEN = Objective(summed_loss, count_targets, lambda total: {})
"""Of all methods but `dpo`."""


def objective_of(config: TrainConfig, model: Any) -> Objective:
    """The objective of the config's method. `model` is the one training starts from, before a checkpoint is put back."""
    if config.method == "dpo":
        preference = Preference(model, config)
        return Objective(preference.loss, preference.count, preference.figures)
    return NEXT_TOKEN
