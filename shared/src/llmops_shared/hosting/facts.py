"""The facts of a model that an engine is sized by, from its config.json; Hugging Face's names, where families differ."""

from collections.abc import Mapping
from typing import Any

from llmops_shared.contracts.engine import ServedModel
from llmops_shared.contracts.package import ModelPackage
from llmops_shared.errors import LlmopsError


def facts_of(package: ModelPackage, config: Mapping[str, Any], place: str, max_adapter_rank: int | None = None) -> ServedModel:
    """What the document keeps of a package; `config` is its `model/config.json`. Raises LlmopsError when that lacks a figure."""
    text = config.get("text_config") or config  # models that see and read keep the reading part apart
    heads = figure(text, place, "num_attention_heads", "n_head")
    return ServedModel(
        architecture=package.architecture,
        num_parameters=package.num_parameters,
        dtype=package.dtype,
        max_context_tokens=package.max_context_tokens,
        layout=package.layout,
        num_layers=figure(text, place, "num_hidden_layers", "n_layer"),
        num_attention_heads=heads,
        num_key_value_heads=text.get("num_key_value_heads") or heads,
        head_size=text.get("head_dim") or figure(text, place, "hidden_size", "n_embd") // heads,
        quantized=(config.get("quantization_config") or {}).get("quant_method"),
        max_adapter_rank=max_adapter_rank,
    )


def figure(config: Mapping[str, Any], place: str, *names: str) -> int:
    """The first of these settings that is there."""
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise LlmopsError(f"{place}: model/config.json has no {names[0]}, which an engine is sized by; package a decoder model")
