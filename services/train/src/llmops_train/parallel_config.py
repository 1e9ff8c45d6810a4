"""Settings of how a run is split over processes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config


class SmpConfig(Config):
    """SageMaker's model parallel library v2 (`engine: smp`); it exists in AWS's own PyTorch images only."""

    hybrid_shard_degree: int = Field(default=0, ge=0)
    """Processes a weight is sharded over; 0: all of them."""
    activation_offloading: bool = Field(default=False)
    """Keeps activations in the host's memory between forward and backward; with gradient_checkpointing only."""


class ParallelConfig(Config):
    """How a run is split over the processes that torchrun, or MPI, started."""

    engine: Literal["none", "ddp", "fsdp2", "deepspeed", "smp"] = Field(default="none")
    """`none`: one process; `ddp`: whole copies; `fsdp2`: sharded, with `tensor` and `pipeline`; `deepspeed`: ZeRO; `smp`: SageMaker's."""
    zero_stage: Literal[1, 2, 3] = Field(default=2)
    """`deepspeed`: what is sharded: 1 the optimizer's state, 2 gradients too, 3 weights too."""
    offload: bool = Field(default=False)
    """`deepspeed` and `fsdp2`: optimizer state (and sharded weights) in the host's memory; with DeepSpeed the step runs there, too."""
    tensor: int = Field(default=1, ge=1)
    """`fsdp2`: neighbouring processes that split each matrix of the blocks."""
    pipeline: int = Field(default=1, ge=1)
    """`fsdp2`: stages the blocks are dealt to; Llama family, one micro batch or more a stage."""
    backend: Literal["auto", "gloo", "nccl", "smddp"] = Field(default="auto")
    """Collectives; `auto`: NCCL with a GPU, Gloo without; `smddp`: SageMaker's data parallel library."""
    require_efa: bool = Field(default=False)
    """With NCCL on several hosts: stops at the start unless its own log says that it talks by EFA, in place of going on over TCP."""
    smp: SmpConfig | None = Field(default=None)
    """Settings of `engine: smp`."""

    @model_validator(mode="after")
    def check_engine(self) -> Self:
        given = self.model_fields_set
        wrong = [
            f"{key} goes with engine {' or '.join(engines)}"
            for key, engines in BELONGS.items()
            if key in given and getattr(self, key) != type(self).model_fields[key].default and self.engine not in engines
        ]
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}, not with engine {self.engine}")
        if self.require_efa and self.backend not in ("auto", "nccl"):
            raise ValueError(f"require_efa reads NCCL's log, which backend {self.backend} does not write; leave one of the two out")
        return self


BELONGS = {
    "zero_stage": ("deepspeed",),
    "offload": ("deepspeed", "fsdp2"),
    "tensor": ("fsdp2",),
    "pipeline": ("fsdp2",),
    "smp": ("smp",),
    "backend": ("ddp", "fsdp2", "deepspeed", "smp"),
    "require_efa": ("ddp", "fsdp2", "deepspeed", "smp"),
}
