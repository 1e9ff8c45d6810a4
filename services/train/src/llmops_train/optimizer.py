"""AdamW, and Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for the matrices inside the blocks."""

from collections import defaultdict
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_train.config import OptimizerConfig

# Coefficients of the quintic Newton-Schulz step of the post above
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal. torch.optim.Muon does it in bfloat16, a hundred times slower on a plain CPU."""

    def __init__(self, parameters: list[torch.nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameters in by_shape(group["params"]):
                update = torch.stack([self.momentum(parameter) for parameter in parameters])
                update = orthogonal(update)
                scale = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
                for parameter, direction in zip(parameters, update, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-group["lr"] * scale)

    def momentum(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Nesterov momentum of a parameter's gradient."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def by_shape(parameters: list[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """Matrices of equal shape together, for one batched product instead of many small ones."""
    groups: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        groups[parameter.shape].append(parameter)
    return list(groups.values())


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About U V^T of each matrix U S V^T, shape [num_matrices, rows, columns]."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def make_optimizers(model: torch.nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """One optimizer, or Muon for the blocks' matrices and AdamW for embeddings and norms; each group knows its `peak` rate."""
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    inside = [p for name, p in parameters if config.kind == "muon" and p.ndim == 2 and not is_embedding(name)]
    taken = {id(parameter) for parameter in inside}
    rest = [parameter for _, parameter in parameters if id(parameter) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True
        )
    ]
    if inside:
        optimizers.append(Muon(inside, config.muon_learning_rate, config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def is_embedding(name: str) -> bool:
    """Whether a parameter maps between tokens and vectors, by its name in transformers' models."""
    return any(part in name for part in ("embed", "lm_head", "wte", "wpe"))
