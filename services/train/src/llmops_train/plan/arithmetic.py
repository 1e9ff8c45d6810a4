"""Floating point operations in training, as in PaLM (Chowdhery et al. 2022, appendix B, https://arxiv.org/abs/2204.02311)."""

from llmops_train.method_config import MethodConfig
from llmops_train.plan.shape import Shape


def trained_parameters(shape: Shape, config: MethodConfig) -> int:
    """Parameters that learn."""
    if config.adapter is None:
        return shape.num_parameters
    if config.lora is not None:
        return shape.num_layers * config.lora.rank * sum(inputs + outputs for inputs, outputs in shape.matrices)
    if config.prompt_tuning is not None:
        return config.prompt_tuning.num_virtual_tokens * shape.hidden_size
    if config.prefix_tuning is not None:
        return config.prefix_tuning.num_virtual_tokens * shape.num_layers * 2 * shape.num_kv_heads * shape.head_size
    assert config.llama_adapter is not None
    layers = config.llama_adapter.num_layers or shape.num_layers
    return layers * (config.llama_adapter.num_virtual_tokens * shape.hidden_size + 1)


def flops_a_token(shape: Shape, config: MethodConfig, sequence_length: int, target_share: float = 1.0) -> float:
    """Useful operations for one token of training.

    A weight takes 2 forward, 2 for the gradient of what came in, and 2 for its own gradient if it learns; attention takes 4 * heads *
    head size * length a layer forward and twice that backward. The output embedding counts for targets alone. `dpo` adds the
    reference's forward pass. What is computed twice to save memory is no useful work and does not count.
    """
    frozen, learning = (4, 6) if config.adapter is not None else (6, 6)
    matrices = shape.block_weights + shape.embedding * target_share
    attention = 12 * shape.num_layers * shape.num_heads * shape.head_size * sequence_length
    flops = frozen * matrices + attention
    if config.lora is not None:
        flops += learning * trained_parameters(shape, config)
    if config.method == "dpo":
        flops += 2 * matrices + attention / 3
    return flops
