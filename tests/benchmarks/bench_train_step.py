"""A step of the training loop beside the same mathematics in a bare PyTorch loop, alternating in one process: CPU-seconds a step.

python tests/benchmarks/bench_train_step.py [STEPS] [ROUNDS]

The bare loop slices arrays into tensors, takes the forward pass with the loss over targets only, backward, clipping, AdamW. Ours is
`llmops_train.loop.train` as `llmops-train run` calls it: order of rows, progress, curves, a finite check, and a checkpoint a round.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from llmops_train.checkpoint import Checkpoint
from llmops_train.config import TrainConfig
from llmops_train.data import Packed, make_batch
from llmops_train.loop import train
from llmops_train.loss import IGNORED, summed_loss
from llmops_train.optimizer import make_optimizers
from llmops_train.parallel.engine import make_engine
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.world import World

VOCABULARY, LENGTH, ROWS = 4096, 256, 4


def config_of(steps: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "bench",
            "method": "pretrain",
            "dataset": "none",
            "out": "none",
            "architecture": {"hidden_size": 256, "num_layers": 4},
            "max_steps": steps,
            "batch_sequences": ROWS,
            "log_every_steps": 10,
            "checkpoint_every_steps": max(1, steps // 2),
        }
    )


def fresh_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 704, "max_position_embeddings": 512}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, attn_implementation="sdpa", **shape))


def data() -> Packed:
    """Sequences of three documents each."""
    generator = np.random.default_rng(0)
    documents = np.repeat(np.array([[1, 2, 3]]), [100, 100, 56], axis=1).repeat(64, axis=0)
    return Packed(generator.integers(0, VOCABULARY, (64, LENGTH)).astype(np.uint16), documents.astype(np.uint16), None)


def bare(packed: Packed, steps: int) -> tuple[float, float]:
    """CPU-seconds, and the last loss."""
    model, config = fresh_model(), config_of(steps)
    (optimizer,) = make_optimizers(model, config.optimizer)
    parameters = list(model.parameters())
    places = [np.random.default_rng((0, epoch)).permutation(64) for epoch in range(steps * ROWS // 64 + 1)]
    rows = np.concatenate(places)
    model.train()
    began, loss = time.process_time(), torch.zeros(())
    for step in range(steps):
        batch = make_batch(packed, rows[step * ROWS : (step + 1) * ROWS])
        learnt = batch.labels != IGNORED
        hidden = model.model(batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.attention_mask, use_cache=False)[0]
        labels = batch.labels[learnt]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learnt]).float(), labels, reduction="sum") / labels.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return time.process_time() - began, loss.item()


def ours(packed: Packed, steps: int) -> tuple[float, float]:
    """CPU-seconds, and the last loss."""
    config, validation = config_of(steps), Packed(packed.input_ids[:1], packed.document_ids[:1], None)
    engine = make_engine(fresh_model(), summed_loss, config, Mesh(World(), torch.device("cpu")))
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        progress = train(engine, packed, validation, config, Checkpoint(str(Path(scratch)), "bench"), lambda figures, step: None)
        return time.process_time() - began, progress.curve[-1][1]["train_loss"]


def main(steps: int, rounds: int) -> None:
    torch.set_num_threads(1)
    packed = data()
    bare(packed, 3)
    ours(packed, 3)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(rounds):
        for name in ("bare", "ours") if number % 2 == 0 else ("ours", "bare"):
            took, _ = (bare if name == "bare" else ours)(packed, steps)
            seconds[name].append(took / steps)
    for name, values in seconds.items():
        print(json.dumps({"what": name, "cpu_ms_a_step": round(median(values) * 1e3, 1), "tokens_a_step": LENGTH * ROWS}))
    pairs = [mine / theirs for mine, theirs in zip(seconds["ours"], seconds["bare"], strict=True)]
    print(
        json.dumps(
            {"ratio": "ours of bare", "median": round(median(pairs), 4), "lowest": round(min(pairs), 4), "highest": round(max(pairs), 4)}
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30, int(sys.argv[2]) if len(sys.argv) > 2 else 7)
