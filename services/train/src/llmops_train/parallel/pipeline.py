"""Pipeline parallelism: each process keeps a run of the blocks, and micro batches pass through them (torch.distributed.pipelining)."""

from typing import Any

import torch  # noqa: TID253 - this module is imported late
from torch.distributed.fsdp import FSDPModule  # noqa: TID253
from torch.distributed.pipelining import PipelineStage, Schedule1F1B  # noqa: TID253

from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig
from llmops_train.data import IGNORED, Batch
from llmops_train.loss import autocast, count_targets
from llmops_train.parallel.engine import Loss
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.sharded import Sharded
from llmops_train.parallel.share import micro_rows
from llmops_train.parallel.state import Named, trained

FAMILY = "llama"


class Stage(torch.nn.Module):
    """A run of a Llama's blocks, with the embeddings in the first stage and the output in the last. Names stay those of the whole model."""

    def __init__(self, model: Any, number: int, count: int) -> None:
        super().__init__()
        layers = list(enumerate(model.model.layers))
        first, last = (len(layers) * place // count for place in (number, number + 1))
        model.model.layers = torch.nn.ModuleDict({str(index): layer for index, layer in layers[first:last]})
        if number > 0:
            model.model.embed_tokens = None
        if number < count - 1:
            model.model.norm = None
            model.lm_head = None
        self.model = model

    def forward(self, passed: torch.Tensor, position_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """`passed` are token ids in the first stage and hidden states in the others; the last gives logits."""
        inner = self.model.model
        hidden = passed if inner.embed_tokens is None else inner.embed_tokens(passed)
        positions = inner.rotary_emb(hidden, position_ids=position_ids)
        for layer in inner.layers.values():
            hidden = layer(hidden, attention_mask=attention_mask, position_ids=position_ids, position_embeddings=positions, use_cache=False)
        logits: torch.Tensor = hidden if self.model.lm_head is None else self.model.lm_head(inner.norm(hidden))
        return logits


class Pipelined(Sharded):
    """Stages over the mesh's pipeline dimension, each sharded as Sharded does it."""

    def __init__(self, model: Any, loss: Loss, config: TrainConfig, mesh: Mesh) -> None:
        check_family(model, mesh.pipeline)
        super().__init__(model, loss, config, mesh)
        self.num_targets = 1
        stage = PipelineStage(self.root, mesh.pipeline_rank, mesh.pipeline, mesh.device, group=mesh.devices["pipeline"].get_group())
        self.num_batches = micro_rows(config.batch_sequences, config, mesh)[1]
        # gradients are of the sum over micro batches, which `summed` has divided already
        self.schedule = Schedule1F1B(stage, self.num_batches, loss_fn=self.summed, scale_grads=False)

    def shape(self, model: Any) -> torch.nn.Module:
        return Stage(model, self.mesh.pipeline_rank, self.mesh.pipeline)

    def named(self) -> Named:
        return trained(self.root, prefix="model.")

    def summed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """A micro batch's part of the loss; FSDP takes the mean over data shares where the sum is wanted."""
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return loss * self.mesh.data / self.num_targets

    def backward(self, batches: list[Batch], num_targets: int) -> float:
        self.num_targets = num_targets
        return self.run(self.schedule.step, batches) / self.mesh.data

    def run(self, pass_through: Any, batches: list[Batch]) -> float:
        """All micro batches through all stages; the summed loss where the last stage is, else 0."""
        joined = {
            name: torch.cat([getattr(batch, name) for batch in batches])
            for name in ("input_ids", "position_ids", "attention_mask", "labels")
        }
        inputs = (joined["input_ids"],) if self.mesh.pipeline_rank == 0 else ()
        last = self.mesh.pipeline_rank == self.mesh.pipeline - 1
        losses: list[torch.Tensor] = []
        with autocast(self.mesh.device, self.config):
            pass_through(
                *inputs,
                target=joined["labels"] if last else None,
                losses=losses if last else None,
                return_outputs=False,
                position_ids=joined["position_ids"],
                attention_mask=joined["attention_mask"],
            )
        return sum(loss.item() for loss in losses)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> tuple[float, int]:
        self.num_targets = self.mesh.data  # so that `summed` gives the bare sum
        summed = self.run(self.schedule.eval, batches)
        for module in self.root.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # no backward pass will, and the next step must not compute with these weights
        return summed, sum(map(count_targets, batches))

    def proof(self) -> dict[str, Any]:
        facts = super().proof()
        here = len(self.model.model.layers)
        if not 0 < here < self.model.config.num_hidden_layers:
            raise LlmopsError(
                f"parallel.pipeline {self.mesh.pipeline}: this stage has {here} of {self.model.config.num_hidden_layers} blocks"
            )
        return {**facts, "blocks_here": here, "schedule": type(self.schedule).__name__, "micro_batches": self.num_batches}


def check_family(model: Any, stages: int) -> None:
    """Raises LlmopsError for a model that cannot be cut into stages."""
    config = model.config
    if config.model_type != FAMILY:
        raise LlmopsError(
            f"parallel.pipeline: cuts models of the family {FAMILY}, and this is a {config.model_type}; use parallel.pipeline=1"
        )
    if config.tie_word_embeddings:
        raise LlmopsError(
            "parallel.pipeline: input and output embeddings are one matrix (tie_embeddings), which the first and the last stage would both "
            "hold; use architecture.tie_embeddings=false or parallel.pipeline=1"
        )
    if config.num_hidden_layers < stages:
        raise LlmopsError(f"parallel.pipeline {stages}: the model has {config.num_hidden_layers} blocks; use as many stages at most")
