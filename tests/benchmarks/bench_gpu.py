"""On one GPU: packed LoRA on a Llama of 1 to 1.5 billion random weights, sequence 2048: share of the card's measured matmul rate, and memory.

python tests/benchmarks/bench_gpu.py [STEPS] [ROWS_OF_A_STEP] [ROWS_OF_A_MICRO_BATCH]

The card's rate is measured first, by large bfloat16 products of the model's own shapes' kind. The arithmetic of a step is counted by the
usual formula (6 per weight and token for weights that learn, 4 where only what lies below needs gradients, and attention's own products).
Peak memory stands beside what `llmops-train plan` predicts for the same settings. Not run in CI: it needs CUDA.
"""

import json
import sys
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from llmops_train.checkpoint import Checkpoint
from llmops_train.config import TrainConfig
from llmops_train.data import Packed
from llmops_train.loop import train
from llmops_train.loss import summed_loss
from llmops_train.parallel.engine import make_engine
from llmops_train.parallel.mesh import joined
from llmops_train.parallel.world import World
from llmops_train.plan.memory import Split, memory_of
from llmops_train.plan.shape import Shape

LENGTH, VOCABULARY = 2048, 32_000
SHAPE = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 5632}


def matmul_rate(size: int = 8192, rounds: int = 20) -> float:
    """Operations a second of bfloat16 products."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(rounds):
        left @ right
    torch.cuda.synchronize()
    return 2 * size**3 * rounds / (time.perf_counter() - began)


def lora_model() -> Any:
    """The model with an adapter on every linear layer; the base in bfloat16, as an adapter's base usually is."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda"):
        base = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, attn_implementation="sdpa", **SHAPE))
    return get_peft_model(base.to(torch.bfloat16), LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))


def packed_rows(count: int) -> Packed:
    """Sequences filled with four documents each."""
    generator = np.random.default_rng(0)
    documents = np.repeat(np.array([[1, 2, 3, 4]]), [700, 600, 500, 248], axis=1).repeat(count, axis=0)
    return Packed(generator.integers(0, VOCABULARY, (count, LENGTH)).astype(np.uint16), documents.astype(np.uint16), None)


def operations_of_a_token(model: Any) -> float:
    """Forward 2 per weight; backward 2 for what lies below and 2 more for a weight that learns; attention 12 x layers x width x length / 2."""
    matrices = [parameter for name, parameter in model.named_parameters() if parameter.ndim == 2 and "embed_tokens" not in name]
    frozen = sum(parameter.numel() for parameter in matrices if not parameter.requires_grad)
    learning = sum(parameter.numel() for parameter in matrices if parameter.requires_grad)
    attention = 12 * SHAPE["num_hidden_layers"] * SHAPE["hidden_size"] * LENGTH / 2
    return 4 * frozen + 6 * learning + attention


def main(steps: int, rows: int, micro_rows: int) -> None:
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA device")
    rate = matmul_rate()
    settings = {"name": "bench", "method": "lora", "model": "none", "dataset": "none", "out": "none", "lora": {"rank": 16, "alpha": 32}}
    length = {"max_steps": steps, "batch_sequences": rows, "micro_batch_sequences": micro_rows, "dtype": "bfloat16", "log_every_steps": 1}
    config = TrainConfig.model_validate({**settings, **length})
    packed, rates = packed_rows(max(rows, 16)), []
    with joined(config.parallel, World()) as mesh, tempfile.TemporaryDirectory() as scratch:
        model = lora_model()
        operations = operations_of_a_token(model)
        engine = make_engine(model, summed_loss, config, mesh)
        torch.cuda.reset_peak_memory_stats()

        def log(figures: dict[str, float], step: int) -> None:
            rates.append(figures["tokens_per_second"])

        train(engine, packed, packed_rows(1), config, Checkpoint(scratch, "bench"), log)
        peak = torch.cuda.max_memory_allocated()
    weights = sum(parameter.numel() for parameter in model.parameters())
    tokens = median(rates[3:] or rates)
    print(
        json.dumps(
            {
                "card": torch.cuda.get_device_name(),
                "weights": weights,
                "matmul_tflops": round(rate / 1e12, 1),
                "tokens_per_second": round(tokens),
            }
        )
    )
    print(json.dumps({"ratio": "of the matmul rate", "value": round(tokens * operations / rate, 3), "wanted": 0.45}))
    shape = Shape(
        VOCABULARY, SHAPE["hidden_size"], SHAPE["num_hidden_layers"], SHAPE["num_attention_heads"], SHAPE["num_key_value_heads"],
        SHAPE["hidden_size"] // SHAPE["num_attention_heads"], SHAPE["intermediate_size"], tied=False,
    )  # fmt: skip
    predicted = memory_of(shape, config, LENGTH, Split(), target_share=1.0).peak
    print(json.dumps({"peak_memory_gib": round(peak / 2**30, 2), "predicted_gib": round(predicted / 2**30, 2)}))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*[*given, *(20, 16, 4)[len(given) :]])
