"""The training loop: packed batches in, weights moved, figures out."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint import Checkpoint, Progress, Window
from llmops_train.config import OptimizerConfig, TrainConfig
from llmops_train.data import IGNORED, Batch, Order, Packed, in_order, make_batch
from llmops_train.schedule import rate

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0

Log = Callable[[dict[str, float], int], None]


def train(
    model: Any,
    optimizers: list[torch.optim.Optimizer],
    packed: Packed,
    validation: Packed,
    config: TrainConfig,
    checkpoint: Checkpoint,
    log: Log,
) -> Progress:
    """Trains from the checkpoint, or from the start, to the last step. `log` gets each point of the curves, earlier ones first."""
    num_steps = plan_steps(config, packed)
    order = Order(len(packed), config.batch_sequences, config.seed)
    progress = checkpoint.restore(model, optimizers)
    for step, figures in progress.curve:
        log(figures, step)
    meter = Meter(num_steps, progress.step)
    model.train()
    while progress.step < num_steps:
        began = time.perf_counter()
        share = set_rates(optimizers, config.optimizer, progress.step, num_steps)
        batch = make_batch(packed, order.rows(progress.step))
        loss, grad_norm = take_step(model, optimizers, batch, config, progress.step + 1)
        count(progress, loss, batch.num_tokens, time.perf_counter() - began)
        meter.show(progress.step, loss, batch.num_tokens)

        last = progress.step == num_steps
        figures = {}
        if last or progress.step % config.log_every_steps == 0:
            figures = {**close(progress), "learning_rate": share * config.optimizer.learning_rate, "grad_norm": grad_norm}
        if last or (config.validate_every_steps and progress.step % config.validate_every_steps == 0):
            figures["validation_loss"] = mean_loss(model, validation, config)
        if figures:
            progress.curve.append((progress.step, figures))
            log(figures, progress.step)
        if not last and progress.step % config.checkpoint_every_steps == 0:
            checkpoint.save(model, optimizers, progress)
    return progress


def plan_steps(config: TrainConfig, packed: Packed) -> int:
    """Steps of the whole run; tokens count by the average sequence, so that the schedule knows its end."""
    if config.max_steps is not None:
        return config.max_steps
    if config.max_tokens is not None:
        return math.ceil(config.max_tokens / (config.batch_sequences * packed.num_tokens() / len(packed)))
    assert config.num_epochs is not None
    return max(1, round(config.num_epochs * len(packed) / config.batch_sequences))


def set_rates(optimizers: list[torch.optim.Optimizer], config: OptimizerConfig, step: int, num_steps: int) -> float:
    """Sets every group's learning rate for a step, and returns it as a share of the peak."""
    share = rate(config, step, num_steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]
    return share


def take_step(model: Any, optimizers: list[torch.optim.Optimizer], batch: Batch, config: TrainConfig, step: int) -> tuple[float, float]:
    """One optimizer step: the mean loss of the batch and the length of its gradient. Raises LlmopsError when they are not finite."""
    losses, num_targets = summed_loss(model, batch, config)
    if num_targets == 0:  # a batch of chats can be all question; there is nothing to learn from it
        return 0.0, 0.0
    loss = losses / num_targets
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.max_grad_norm, foreach=True))
    if not (math.isfinite(loss.item()) and math.isfinite(grad_norm)):
        raise LlmopsError(
            f"step {step}: the loss is {loss.item():.4g} and its gradient {grad_norm:.4g}, so training has diverged; lower "
            f"optimizer.learning_rate (now {config.optimizer.learning_rate:g}) or raise optimizer.warmup_share, with another out="
        )
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item(), grad_norm


def summed_loss(model: Any, batch: Batch, config: TrainConfig) -> tuple[torch.Tensor, int]:
    """Cross-entropy in nats over all targets of a batch, and their number."""
    learnt = batch.labels != IGNORED
    # The output embedding is up to half of a small model's arithmetic, and in chats most tokens are no targets
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda module, inputs: (inputs[0][learnt],))
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16"):
            logits = model(
                input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.attention_mask, use_cache=False
            ).logits
    finally:
        hook.remove()
    labels = batch.labels[learnt]
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum"), labels.numel()


@torch.no_grad()
def mean_loss(model: Any, packed: Packed, config: TrainConfig) -> float:
    """Loss a target over a whole split, in nats."""
    model.eval()
    results = [summed_loss(model, batch, config) for batch in in_order(packed, config.batch_sequences)]
    model.train()
    return float(sum(loss.item() for loss, _ in results)) / sum(number for _, number in results)


def count(progress: Progress, loss: float, num_tokens: int, seconds: float) -> None:
    """Adds a step to the sums."""
    progress.step += 1
    progress.num_tokens += num_tokens
    progress.train_seconds += seconds
    window = progress.window
    window.loss += loss
    window.num_tokens += num_tokens
    window.num_steps += 1
    window.seconds += seconds


def close(progress: Progress) -> dict[str, float]:
    """The figures of the window since the last point, which then starts anew."""
    window, progress.window = progress.window, Window()
    return {"train_loss": window.loss / window.num_steps, "tokens_per_second": window.num_tokens / window.seconds}


class Meter:
    """Lines about the progress, every few seconds."""

    def __init__(self, num_steps: int, first_step: int) -> None:
        self.num_steps = num_steps
        self.first_step = first_step
        self.num_tokens = 0
        self.began = self.shown = time.monotonic()

    def show(self, step: int, loss: float, num_tokens: int) -> None:
        """Counts a step, and writes a line when one is due."""
        self.num_tokens += num_tokens
        now = time.monotonic()
        if now - self.shown < SECONDS_BETWEEN_LINES and step < self.num_steps:
            return
        self.shown = now
        seconds = max(now - self.began, 1e-9)
        left = seconds / (step - self.first_step) * (self.num_steps - step)
        logger.info("step %d of %d, loss %.3f, %.0f tokens/s, %.0f s left", step, self.num_steps, loss, self.num_tokens / seconds, left)
