"""The training loop: packed batches in, weights moved, figures out."""

import logging
import math
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint import Checkpoint, Progress, Window
from llmops_train.config import OptimizerConfig, TrainConfig
from llmops_train.data import Batch, Order, Sequences
from llmops_train.interruption import Interrupted, Stop
from llmops_train.methods.objective import NEXT_TOKEN, Objective
from llmops_train.parallel.engine import Engine
from llmops_train.parallel.share import my_batches
from llmops_train.schedule import rate
from llmops_train.watching.watch import Watch

logger = logging.getLogger(__name__)

Log = Callable[[dict[str, float], int], None]


def train(
    engine: Engine,
    packed: Sequences,
    validation: Sequences,
    config: TrainConfig,
    checkpoint: Checkpoint,
    log: Log,
    stop: Stop | None = None,
    objective: Objective = NEXT_TOKEN,
    watch: Watch | None = None,
) -> Progress:
    """Trains from the checkpoint, or from the start, to the last step. `log` gets each point of the curves, earlier ones first.

    Raises Interrupted, after a complete checkpoint, when `stop` asks for it on any process.
    """
    num_steps = plan_steps(config, packed)
    order = Order(packed, config.batch_sequences, config.seed)
    progress = checkpoint.restore(engine)
    for step, figures in progress.curve:
        log(figures, step)
    watch = watch or Watch()
    meter = watch.start(num_steps, progress.step)
    saved = progress.step
    engine.learn(True)
    try:
        while progress.step < num_steps:
            began = time.perf_counter()
            share = set_rates(engine.optimizers, config.optimizer, progress.step, num_steps)
            taken = take_step(engine, packed, order, config, checkpoint, progress.step, stop, objective.count)
            if taken is None:
                end_early(engine, checkpoint, progress, saved)
            loss, grad_norm, num_tokens = taken
            count(progress, loss, num_tokens, time.perf_counter() - began)
            meter.show(progress.step, loss, num_tokens)

            last = progress.step == num_steps
            figures = {}
            if last or progress.step % config.log_every_steps == 0:
                rates = {"learning_rate": share * config.optimizer.learning_rate, "grad_norm": grad_norm}
                figures = watch.figures(progress.window) | objective.figures(engine.mesh.total) | close(progress) | rates
            if last or (config.validate_every_steps and progress.step % config.validate_every_steps == 0):
                figures["validation_loss"] = mean_loss(engine, validation, config)
                watch.evaluated(progress.step)
            if figures:
                progress.curve.append((progress.step, figures))
                log(figures, progress.step)
            if not last and progress.step % config.checkpoint_every_steps == 0:
                saved = progress.step
                checkpoint.save(engine.state(), progress)
        checkpoint.finish()
    finally:
        checkpoint.wait()
    return progress


def end_early(engine: Engine, checkpoint: Checkpoint, progress: Progress, saved: int) -> NoReturn:
    """Completes a checkpoint of where the run is, and ends it."""
    if progress.step > saved:
        checkpoint.save(engine.state(), progress)
    checkpoint.finish()
    raise Interrupted(progress.step)


def plan_steps(config: TrainConfig, packed: Sequences) -> int:
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


def take_step(
    engine: Engine,
    packed: Sequences,
    order: Order,
    config: TrainConfig,
    checkpoint: Checkpoint,
    step: int,
    stop: Stop | None,
    count_in: Callable[[Batch], int],
) -> tuple[float, float, int] | None:
    """One optimizer step: mean loss of the batch, length of its gradient, and tokens. None when some process is asked to stop.

    Raises LlmopsError when loss or gradient are not finite.
    """
    mesh = engine.mesh
    # dropout depends on seed, step and share alone, so that a resumed run has the same
    torch.manual_seed((config.seed * 1_000_003 + step) * 65_537 + mesh.data_rank)
    batches = my_batches(packed, order.rows(step), config, mesh)
    counted = float(mesh.counts)
    targets, tokens = sum(map(count_in, batches)), sum(batch.num_tokens for batch in batches)
    num_targets, num_tokens, stops = mesh.total([counted * targets, counted * tokens, float(stop is not None and stop.asked)])
    if stops:
        return None
    if num_targets == 0:  # a batch of chats can be all question; there is nothing to learn from it
        return 0.0, 0.0, int(num_tokens)
    mine = engine.backward(batches, int(num_targets))
    loss = mesh.total([counted * mine])[0]
    if math.isfinite(loss):
        checkpoint.settle()
        grad_norm = engine.update()
    else:
        grad_norm = math.nan
    if not math.isfinite(grad_norm):
        raise LlmopsError(
            f"step {step + 1}: the loss is {loss:.4g} and its gradient {grad_norm:.4g}, so training has diverged; lower "
            f"optimizer.learning_rate (now {config.optimizer.learning_rate:g}) or raise optimizer.warmup_share, with another out="
        )
    return loss, grad_norm, int(num_tokens)


def mean_loss(engine: Engine, validation: Sequences, config: TrainConfig) -> float:
    """Loss a target over a whole split, in nats."""
    mesh, loss, number = engine.mesh, 0.0, 0
    engine.learn(False)
    for start in range(0, len(validation), config.batch_sequences):
        rows = np.arange(start, min(start + config.batch_sequences, len(validation)))
        summed, targets = engine.measure(my_batches(validation, rows, config, mesh))
        loss, number = loss + summed, number + targets
    engine.learn(True)
    counted = float(mesh.counts)
    loss, total = mesh.total([counted * loss, counted * number])
    return loss / total


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
