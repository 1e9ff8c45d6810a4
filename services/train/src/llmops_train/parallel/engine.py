"""The engine: the one object through which the loop moves weights, whatever splits them."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch  # noqa: TID253 - this module is imported late

from llmops_train.checkpoint.piece import Piece, Read
from llmops_train.config import TrainConfig
from llmops_train.data import Batch
from llmops_train.parallel.mesh import Mesh

logger = logging.getLogger(__name__)

Loss = Callable[[Any, Batch, TrainConfig], tuple[torch.Tensor, int]]
"""The summed loss over a batch's targets, and their number."""


class Engine(Protocol):
    """A model and its optimizers over the processes of a mesh."""

    mesh: Mesh
    optimizers: list[torch.optim.Optimizer]

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        """Gradients of this process's micro batches; its part of the loss a target, `num_targets` being those of all processes."""

    def update(self) -> float:
        """Moves the weights; the length of the whole gradient before clipping. Leaves them when that is not finite."""

    def learn(self, learning: bool) -> None:
        """Switches dropout on for learning, off for measuring."""

    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        """Summed loss of this process's micro batches without learning, and the number of their targets."""

    def state(self) -> list[Piece]:
        """What this process holds of the run's state."""

    def put_back(self, names: set[str], read: Read) -> None:
        """Fills weights and optimizer state from a checkpoint that has these names."""

    def whole(self, make: Callable[[], Any]) -> Any | None:
        """The trained model on the first process, None on others; `make` gives a fresh one to fill where the weights are split."""

    def proof(self) -> dict[str, Any]:
        """What shows that the engine is the one asked for. Raises LlmopsError when it is not."""


class Losses(torch.nn.Module):
    """A model whose forward pass is its loss, as engines that wrap a module want it."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.config = config
        self.num_targets = 0
        """Of the batch that went through last."""

    def forward(self, batch: Batch) -> torch.Tensor:
        summed, self.num_targets = self.loss(self.model, batch, self.config)
        return summed


def make_engine(model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> Engine:
    """The engine of `parallel.engine`, shown to be at work. Raises LlmopsError when the model cannot be split so."""
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    engine = choose(model, loss, config, mesh)
    facts = engine.proof()
    if config.parallel.engine != "none":
        logger.info("parallel: %s", ", ".join(f"{key} {value}" for key, value in facts.items()))
    return engine


def choose(model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> Engine:
    """The implementation; each loads its library."""
    match config.parallel.engine:
        case "none" | "ddp":
            from llmops_train.parallel.copies import Copies

            return Copies(model, loss, config, mesh)
        case "fsdp2" if config.parallel.pipeline > 1:
            from llmops_train.parallel.pipeline import Pipelined

            return Pipelined(model, loss, config, mesh)
        case "fsdp2":
            from llmops_train.parallel.sharded import Sharded

            return Sharded(model, loss, config, mesh)
        case "deepspeed":
            from llmops_train.parallel.zero import Zero

            return Zero(model, loss, config, mesh)
        case "smp":
            from llmops_train.parallel.smp import SageMakerSharded

            return SageMakerSharded(model, loss, config, mesh)
