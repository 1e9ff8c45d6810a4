"""SageMaker's model parallel library v2 over FSDP; its module `torch.sagemaker` is in AWS's own images only.

https://docs.aws.amazon.com/sagemaker/latest/dg/distributed-model-parallel-v2-reference.html
"""

import functools
import logging
import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint.piece import Piece, Read, whole_box
from llmops_train.config import OptimizerConfig, TrainConfig
from llmops_train.data import Batch
from llmops_train.parallel.engine import Loss
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.state import optimizer_tensors
from llmops_train.parallel_config import SmpConfig

logger = logging.getLogger(__name__)


class SageMakerSharded:
    """A model that SMP transformed, sharded by FSDP."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> None:
        from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, ShardingStrategy
        from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

        self.mesh = mesh
        self.config = config
        self.loss = loss
        self.sagemaker = start_library(config.parallel.smp or SmpConfig(), config)
        vectors = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
        classes = {type(module) for module in model.modules() if type(module).__name__ in set(model._no_split_modules or ())}
        policy = functools.partial(transformer_auto_wrap_policy, transformer_layer_cls=classes)
        half = MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if config.dtype == "bfloat16" else None
        self.model: Any = FullyShardedDataParallel(
            self.sagemaker.transform(model),
            auto_wrap_policy=policy,
            device_id=mesh.device,
            sharding_strategy=ShardingStrategy.HYBRID_SHARD if hybrid(config) else ShardingStrategy.FULL_SHARD,
            mixed_precision=half,
            use_orig_params=True,
        )
        self.optimizers = [adamw_of(self.model, vectors, config.optimizer)]
        logger.info("parallel.engine smp: checkpoints of this run can be read by %d processes only", mesh.world.size)

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        total = 0.0
        for batch in batches:  # without no_sync, which would keep a whole gradient on every process
            loss = self.loss(self.model, batch, self.config)[0] / num_targets
            torch.autograd.backward(loss * self.mesh.data)
            total += loss.item()
        return total

    def update(self) -> float:
        from torch.sagemaker.grad_norm import clip_grad_norm_  # type: ignore[import-not-found]

        norm = float(clip_grad_norm_(self.model, self.config.optimizer.max_grad_norm))
        for optimizer in self.optimizers:
            if math.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad()
        return norm

    def learn(self, learning: bool) -> None:
        self.model.train(learning)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        results = [self.loss(self.model, batch, self.config) for batch in batches]
        return sum(loss.item() for loss, _ in results), sum(count for _, count in results)

    def here(self) -> str:
        """What is in front of every name of a checkpoint: FSDP's flat parts say nothing about where they belong."""
        return f"{self.mesh.world.rank} of {self.mesh.world.size}: "

    def tensors(self) -> list[tuple[str, Any]]:
        named = [(name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad and parameter.numel()]
        found = [(f"model.{name}", parameter) for name, parameter in named]
        return [(self.here() + name, tensor) for name, tensor in found + optimizer_tensors(named, self.optimizers)]

    def state(self) -> list[Piece]:
        return [Piece(name, whole_box(tensor), tensor.detach()) for name, tensor in self.tensors()]

    @torch.no_grad()
    def put_back(self, names: set[str], read: Read) -> None:
        if not any(name.startswith(self.here()) for name in names):
            raise LlmopsError(
                f"parallel.engine smp: the checkpoint was written by another number of processes than {self.mesh.world.size}, or by "
                f"another engine; start as many as then, or delete the checkpoint folder"
            )
        if any("optimizer." in name for name in names):
            for optimizer in self.optimizers:  # a step with no gradient and no rate makes the state that is filled now
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
                    for parameter in group["params"]:
                        parameter.grad = torch.zeros_like(parameter)
                optimizer.step()
                optimizer.zero_grad()
        for name, tensor in self.tensors():
            tensor.copy_(read(name, whole_box(tensor)))

    def whole(self, make: Callable[[], Any]) -> Any | None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights = get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if not self.mesh.world.is_first:
            return None
        model = make()
        model.load_state_dict(weights)
        return model

    def proof(self) -> dict[str, Any]:
        from torch.distributed.fsdp import FullyShardedDataParallel

        if not isinstance(self.model, FullyShardedDataParallel):
            raise LlmopsError(f"parallel.engine smp: the model is a {type(self.model).__name__}")
        return {"engine": "smp", "data": self.mesh.data, "module": type(self.model).__name__, "settings": library_settings(self.config)}


def adamw_of(model: Any, vectors: set[str], config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW with the decay every engine has: FSDP's parts are flat, so which are of matrices must be known from before."""
    named = [
        (name.replace("_fsdp_wrapped_module.", ""), parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in named if name not in vectors], "weight_decay": config.weight_decay},
        {"params": [parameter for name, parameter in named if name in vectors], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def hybrid(config: TrainConfig) -> bool:
    """Whether weights are sharded over a part of the processes, and copied over the others."""
    return bool(config.parallel.smp and config.parallel.smp.hybrid_shard_degree)


def library_settings(config: TrainConfig) -> dict[str, int | bool]:
    """SMP's own configuration, in its words."""
    smp = config.parallel.smp or SmpConfig()
    return {
        "hybrid_shard_degree": smp.hybrid_shard_degree,
        "tensor_parallel_degree": 1,  # tensor neighbours take the same rows: that is engine fsdp2 with parallel.tensor
        "sm_activation_offloading": smp.activation_offloading,
        "random_seed": config.seed,
    }


def start_library(smp: SmpConfig, config: TrainConfig) -> Any:
    """SMP, started. Raises LlmopsError when it is not here, or when a setting could not take effect."""
    if smp.activation_offloading and not config.gradient_checkpointing:
        raise LlmopsError("parallel.smp.activation_offloading moves what gradient_checkpointing keeps; set gradient_checkpointing=true")
    try:
        import torch.sagemaker as sagemaker  # type: ignore[import-not-found]
    except ImportError as error:
        raise LlmopsError(
            f"parallel.engine smp: SageMaker's model parallel library is not here ({error}); run in AWS's image for SMP v2, or use "
            f"parallel.engine=fsdp2"
        ) from error
    sagemaker.init(library_settings(config))
    return sagemaker
