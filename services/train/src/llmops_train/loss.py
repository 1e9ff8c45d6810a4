"""The loss of a batch: next tokens, in nats."""

from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_train.config import TrainConfig
from llmops_train.data import IGNORED, Batch
from llmops_train.methods.virtual import logits_of


def summed_loss(model: Any, batch: Batch, config: TrainConfig) -> tuple[torch.Tensor, int]:
    """Cross-entropy in nats over all targets of a batch, and their number."""
    learnt = batch.labels != IGNORED
    with autocast(batch.input_ids.device, config):
        logits = logits_of(model, batch, learnt)
    labels = batch.labels[learnt]
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum"), labels.numel()


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """The arithmetic of `dtype`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")


def count_targets(batch: Batch) -> int:
    """The number `summed_loss` will give, known before the forward pass: the loss of a step is a mean over all its micro batches."""
    return int((batch.labels != IGNORED).sum())
