"""Weights, gradients and optimizer state sharded over the data shares (FSDP2), matrices split over tensor neighbours."""

import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late
import torch.distributed as dist  # noqa: TID253
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard  # noqa: TID253
from torch.distributed.tensor import DTensor  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint.piece import Piece, Read, box_of, local_piece, whole_box
from llmops_train.config import TrainConfig
from llmops_train.data import Batch
from llmops_train.optimizer import make_optimizers
from llmops_train.parallel.engine import Loss
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.norm import clip
from llmops_train.parallel.state import Named, fill_optimizers, optimizer_tensors, trained
from llmops_train.parallel.tensor import split_matrices


class Sharded:
    """FSDP2 over the mesh's data dimension, and tensor parallelism over its tensor dimension."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> None:
        self.mesh = mesh
        self.config = config
        self.loss = loss
        self.model = model.to(mesh.device)
        self.root = self.shape(model)
        if mesh.tensor > 1:
            split_matrices(model, list(self.blocks()), mesh)
        self.shard()
        self.parameters = self.named()
        self.optimizers = make_optimizers(self.root, config.optimizer)

    def shape(self, model: Any) -> torch.nn.Module:
        """The module to shard; a pipeline keeps a part of the model only."""
        module: torch.nn.Module = model
        return module

    def blocks(self) -> list[torch.nn.Module]:
        """The model's repeated blocks, as transformers names their class. Raises LlmopsError when it names none."""
        classes = set(getattr(self.model, "_no_split_modules", None) or ())
        found = [module for module in self.root.modules() if type(module).__name__ in classes]
        if not found:
            raise LlmopsError(f"parallel.engine fsdp2: {type(self.model).__name__} names no blocks to shard by; use parallel.engine=ddp")
        return found

    def shard(self) -> None:
        """Each block is gathered on its own, just before it computes."""
        assert self.mesh.devices is not None
        options: dict[str, Any] = {"mesh": self.mesh.devices["data"], "reshard_after_forward": self.mesh.pipeline == 1}
        if self.config.dtype == "bfloat16":
            options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        if self.config.parallel.offload:
            options["offload_policy"] = CPUOffloadPolicy(pin_memory=self.mesh.device.type == "cuda")
        for block in self.blocks():
            fully_shard(block, **options)
        fully_shard(self.root, **options)

    def named(self) -> Named:
        """Names and parameters that learn here."""
        return trained(self.root)

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        total = 0.0
        assert isinstance(self.root, FSDPModule)
        for number, batch in enumerate(batches):
            self.root.set_requires_gradient_sync(number + 1 == len(batches))
            loss = self.loss(self.model, batch, self.config)[0] / num_targets
            torch.autograd.backward(loss * self.mesh.data)  # FSDP takes the mean over data shares where the sum is wanted
            total += loss.item()
        return total

    def update(self) -> float:
        gradients = [parameter for _, parameter in self.parameters]
        norm = clip(gradients, self.config.optimizer.max_grad_norm, self.stages())
        for optimizer in self.optimizers:
            if math.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad()
        return norm

    def stages(self) -> dist.ProcessGroup | None:
        """The group over which the stages' norms add up."""
        return self.mesh.devices["pipeline"].get_group() if self.mesh.pipeline > 1 else None

    def learn(self, learning: bool) -> None:
        self.root.train(learning)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        results = [self.loss(self.model, batch, self.config) for batch in batches]
        return sum(loss.item() for loss, _ in results), sum(count for _, count in results)

    def state(self) -> list[Piece]:
        tensors = [(f"model.{name}", parameter) for name, parameter in self.parameters]
        tensors += optimizer_tensors(self.parameters, self.optimizers)
        return [local_piece(name, tensor, self.writes(tensor, number)) for number, (name, tensor) in enumerate(tensors)]

    def writes(self, tensor: Any, turn: int) -> bool:
        """Whether this process writes its part of a tensor: equal parts, along what the tensor is not split over, take turns."""
        split = set()
        if isinstance(tensor, DTensor):
            names = tensor.device_mesh.mesh_dim_names or ()
            split = {name for name, placement in zip(names, tensor.placements, strict=True) if not placement.is_replicate()}
        ranks = {"data": (self.mesh.data_rank, self.mesh.data), "tensor": (self.mesh.tensor_rank, self.mesh.tensor)}
        return all(rank == turn % size for name, (rank, size) in ranks.items() if name not in split)

    @torch.no_grad()
    def put_back(self, names: set[str], read: Read) -> None:
        for name, parameter in self.parameters:
            if isinstance(parameter, DTensor):
                box = box_of(parameter)
                if not box.empty:
                    parameter.to_local().copy_(read(f"model.{name}", box))
            else:
                parameter.copy_(read(f"model.{name}", whole_box(parameter)))
        fill_optimizers(self.parameters, self.optimizers, names, read)

    @torch.no_grad()
    def whole(self, make: Callable[[], Any]) -> Any | None:
        first = self.mesh.data_rank == self.mesh.tensor_rank == 0
        mine = {}
        for name, parameter in self.parameters:
            full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.detach()
            if first:  # one tensor at a time is whole on the others, and passes
                mine[name] = full.cpu()
        gathered: list[Any] = [None] * self.mesh.world.size if self.mesh.world.is_first else []
        dist.gather_object(mine if first else None, gathered or None, group=self.mesh.control)
        if not self.mesh.world.is_first:
            return None
        model = make()
        tensors = dict(model.named_parameters())
        for part in gathered:
            for name, value in (part or {}).items():
                tensors[name].copy_(value)
        return model

    def proof(self) -> dict[str, Any]:
        plain = [name for name, parameter in self.parameters if not isinstance(parameter, DTensor)]
        if plain:
            raise LlmopsError(f"parallel.engine fsdp2: {plain[0]} is not sharded (a {type(dict(self.parameters)[plain[0]]).__name__})")
        split = sum("tensor" in (p.device_mesh.mesh_dim_names or ()) for _, p in self.parameters if isinstance(p, DTensor))
        if self.mesh.tensor > 1 and not split:
            raise LlmopsError(f"parallel.tensor {self.mesh.tensor}: no matrix is split")
        here = sum(p.to_local().numel() for _, p in self.parameters if isinstance(p, DTensor))
        whole = sum(p.numel() for _, p in self.parameters)
        if self.mesh.data > 1 and here >= whole:
            raise LlmopsError(f"parallel.engine fsdp2: this process holds {here} of {whole} elements, so nothing is sharded")
        return {
            "engine": "fsdp2",
            **{name: getattr(self.mesh, name) for name in ("data", "tensor", "pipeline")},
            "module": type(self.root).__name__,
            "sharded_parameters": len(self.parameters),
            "split_matrices": split,
            "elements_here": here,
            "elements": whole,
            "offload": self.config.parallel.offload,
        }
