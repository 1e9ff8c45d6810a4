"""The facts of well-known models, by family, to size engines by: parameters and shapes as their published configs have them."""

from llmops_shared.contracts import Reference
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.engine import ServedModel


def model(architecture: str, num_parameters: int, context: int, layers: int, heads: int, key_heads: int, head_size: int) -> ServedModel:
    return ServedModel(
        architecture=architecture,
        num_parameters=num_parameters,
        dtype="bfloat16",
        max_context_tokens=context,
        layout="merged",
        num_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_size=head_size,
    )


FAMILIES = {
    "llama-3.1-8b": model("LlamaForCausalLM", 8_030_261_248, 131_072, 32, 32, 8, 128),
    "mistral-7b": model("MistralForCausalLM", 7_248_023_552, 32_768, 32, 32, 8, 128),
    "qwen2.5-14b": model("Qwen2ForCausalLM", 14_770_033_664, 32_768, 48, 40, 8, 128),
}


def variant(family: str, **changes: object) -> Variant:
    """A variant that serves a family's model."""
    package = Reference(uri=f"{family}/package.json", sha256="0" * 64)
    return Variant.model_validate({"name": "production", "package": package, "engine": "tgi", "model": FAMILIES[family], **changes})
