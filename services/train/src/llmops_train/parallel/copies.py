"""Whole copies of the model: one process, or DistributedDataParallel over several."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late
from torch.nn.parallel import DistributedDataParallel  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint.piece import Piece, Read, local_piece, whole_box
from llmops_train.config import TrainConfig
from llmops_train.data import Batch
from llmops_train.optimizer import make_optimizers
from llmops_train.parallel.engine import Loss, Losses
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.state import fill_optimizers, optimizer_tensors, trained


class Copies:
    """Every process has all weights; DDP adds up the gradients."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> None:
        self.mesh = mesh
        self.config = config
        self.model = model.to(mesh.device)
        self.losses: Any = Losses(model, loss, config)
        if config.parallel.engine == "ddp":
            devices = [mesh.device] if mesh.device.type == "cuda" else None
            self.losses = DistributedDataParallel(self.losses, device_ids=devices, gradient_as_bucket_view=True)
        self.optimizers = make_optimizers(model, config.optimizer)
        self.parameters = [parameter for _, parameter in trained(model)]

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        total = 0.0
        for number, batch in enumerate(batches):
            with self.apart(number + 1 < len(batches)):
                loss = self.losses(batch) / num_targets
                # DDP takes the mean over processes where the sum is wanted
                (loss * self.mesh.data if self.mesh.data > 1 else loss).backward()
            total += loss.item()
        return total

    def apart(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients travel once a step, after its last micro batch."""
        ddp = isinstance(self.losses, DistributedDataParallel)
        return self.losses.no_sync() if ddp and more else contextlib.nullcontext()

    def update(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.optimizer.max_grad_norm, foreach=True))
        if math.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return norm

    def learn(self, learning: bool) -> None:
        self.model.train(learning)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        results = [self.bare.loss(self.model, batch, self.config) for batch in batches]
        return sum(loss.item() for loss, _ in results), sum(count for _, count in results)

    @property
    def bare(self) -> Losses:
        """The module under DDP."""
        module: Losses = self.losses.module if isinstance(self.losses, DistributedDataParallel) else self.losses
        return module

    def state(self) -> list[Piece]:
        tensors = [(f"model.{name}", parameter) for name, parameter in trained(self.model)]
        tensors += optimizer_tensors(trained(self.model), self.optimizers)
        return [local_piece(name, tensor, number % self.mesh.data == self.mesh.data_rank) for number, (name, tensor) in enumerate(tensors)]

    @torch.no_grad()
    def put_back(self, names: set[str], read: Read) -> None:
        for name, parameter in trained(self.model):
            parameter.copy_(read(f"model.{name}", whole_box(parameter)))
        fill_optimizers(trained(self.model), self.optimizers, names, read)

    def whole(self, make: Callable[[], Any]) -> Any | None:
        return self.model if self.mesh.world.is_first else None

    def proof(self) -> dict[str, Any]:
        ddp = self.config.parallel.engine == "ddp"
        if ddp != isinstance(self.losses, DistributedDataParallel):
            raise LlmopsError(f"parallel.engine {self.config.parallel.engine}: the model is a {type(self.losses).__name__}")
        return {"engine": self.config.parallel.engine, "data": self.mesh.data, "module": type(self.losses).__name__}
