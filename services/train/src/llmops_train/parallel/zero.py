"""DeepSpeed's ZeRO: optimizer state, gradients and weights over the data shares, by stage, with offload to the host."""

import logging
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint.piece import Piece, Read
from llmops_train.config import TrainConfig
from llmops_train.data import Batch
from llmops_train.optimizer import make_optimizers
from llmops_train.parallel.engine import Loss, Losses
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.share import micro_rows
from llmops_train.parallel.state import trained
from llmops_train.parallel.zero_state import fill, pieces

PREFIX = "model."  # the module that DeepSpeed wraps is Losses


class Zero:
    """A DeepSpeed engine."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> None:
        deepspeed = load_deepspeed()
        self.mesh = mesh
        self.config = config
        self.settings = settings_of(config, mesh)
        self.losses = Losses(model.to(mesh.device), loss, config)
        self.engine, *_ = deepspeed.initialize(
            model=self.losses, optimizer=optimizer_of(model, config), config=self.settings, dist_init_required=False
        )
        self.optimizers = [self.engine.optimizer]
        self.named = trained(self.losses, prefix=PREFIX)

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        total = 0.0
        for number, batch in enumerate(batches):
            loss = self.engine(batch) / num_targets
            # DeepSpeed takes the mean over data shares where the sum is wanted
            self.engine.backward(loss * self.mesh.data, scale_wrt_gas=False)
            total += loss.item()
            if number + 1 < len(batches):
                self.engine.step()  # counts a micro batch; only the last one's, in `update`, moves weights
        return total

    def update(self) -> float:
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def learn(self, learning: bool) -> None:
        self.engine.train(learning)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        summed, count = 0.0, 0
        for batch in batches:
            summed += float(self.engine(batch))
            count += self.losses.num_targets
        return summed, count

    def state(self) -> list[Piece]:
        return pieces(self.engine.optimizer, self.named, self.mesh, self.config.parallel.zero_stage)

    @torch.no_grad()
    def put_back(self, names: set[str], read: Read) -> None:
        fill(self.engine.optimizer, self.named, self.mesh, self.config.parallel.zero_stage, names, read)

    @torch.no_grad()
    def whole(self, make: Callable[[], Any]) -> Any | None:
        deepspeed = load_deepspeed()
        first = self.mesh.world.is_first
        model = make() if first else None
        targets = dict(model.named_parameters()) if model is not None else {}
        for name, parameter in self.named:
            with deepspeed.zero.GatheredParameters([parameter], enabled=self.config.parallel.zero_stage == 3):
                if first:
                    targets[name].copy_(parameter.detach().cpu())
        return model

    def proof(self) -> dict[str, Any]:
        wanted, kind = self.config.parallel.zero_stage, type(self.engine.optimizer).__name__
        stage = self.engine.zero_optimization_stage()
        here = sum(piece.tensor.numel() for piece in self.state() if piece.name.startswith("model."))
        whole = sum(getattr(parameter, "ds_numel", parameter.numel()) for _, parameter in self.named)
        if stage != wanted or not kind.startswith("DeepSpeedZeroOptimizer"):
            raise LlmopsError(f"parallel.engine deepspeed: runs stage {stage} with {kind}, and zero_stage is {wanted}")
        if self.mesh.data > 1 and here >= whole:
            raise LlmopsError(f"parallel.engine deepspeed: this process holds the state of {here} of {whole} elements: nothing is sharded")
        return {
            "engine": "deepspeed",
            "data": self.mesh.data,
            "module": type(self.engine).__name__,
            "optimizer": kind,
            "inner_optimizer": type(self.engine.optimizer.optimizer).__name__,
            "elements_here": here,
            "elements": whole,
            "settings": self.settings,
        }


def load_deepspeed() -> Any:
    """The library. Raises LlmopsError when it is not here."""
    try:
        import deepspeed  # type: ignore[import-untyped]
    except ImportError as error:
        raise LlmopsError(f"parallel.engine deepspeed: {error}; install it with `pip install 'llmops-train[deepspeed]'`") from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


def settings_of(config: TrainConfig, mesh: Mesh) -> dict[str, Any]:
    """DeepSpeed's own configuration, all of it written out: its defaults move, and gradient_clipping's is 1.0."""
    size, number = micro_rows(config.batch_sequences, config, mesh)
    zero: dict[str, Any] = {"stage": config.parallel.zero_stage, "contiguous_gradients": True, "overlap_comm": mesh.device.type == "cuda"}
    if config.parallel.offload:
        place = {"device": "cpu", "pin_memory": mesh.device.type == "cuda"}
        zero["offload_optimizer"] = place
        if config.parallel.zero_stage == 3:
            zero["offload_param"] = place
    return {
        "train_micro_batch_size_per_gpu": size,
        "gradient_accumulation_steps": number,
        "train_batch_size": size * number * mesh.data,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": config.parallel.offload,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def optimizer_of(model: Any, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW in the groups every engine has; with offload DeepSpeed's own for the host, which it compiles at first use."""
    (adamw,) = make_optimizers(model, config.optimizer)
    if not config.parallel.offload:
        return adamw
    from deepspeed.ops.adam import DeepSpeedCPUAdam  # type: ignore[import-untyped]

    groups = [{name: group[name] for name in ("params", "weight_decay", "peak")} for group in adamw.param_groups]
    betas = (config.optimizer.beta1, config.optimizer.beta2)
    optimizer: torch.optim.Optimizer = DeepSpeedCPUAdam(groups, lr=config.optimizer.learning_rate, betas=betas, adamw_mode=True)
    return optimizer
