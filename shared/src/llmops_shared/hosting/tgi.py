"""Text Generation Inference (huggingface.co/docs/text-generation-inference/reference/launcher)."""

from llmops_shared.contracts.engine import EngineSettings, Quantization, ServedModel
from llmops_shared.hosting.places import Places
from llmops_shared.hosting.sizing import size_of

FORMATS: tuple[Quantization, ...] = ("fp8", "int8", "nf4")
WORDS: dict[Quantization, str] = {"fp8": "fp8", "int8": "bitsandbytes", "nf4": "bitsandbytes-nf4"}
STORED = {"gptq", "awq", "exl2", "compressed-tensors"}
PREFILL_TOKENS = 4096


def environment(model: ServedModel, settings: EngineSettings, instance_type: str, places: Places) -> dict[str, str]:
    """Its SageMaker entry point turns HF_MODEL_ID, SM_NUM_GPUS and HF_MODEL_QUANTIZE into MODEL_ID, NUM_SHARD and QUANTIZE."""
    size = size_of(model, settings, instance_type, FORMATS)
    variables = {
        "HF_MODEL_ID": places.model,
        "SM_NUM_GPUS": str(size.num_gpus),
        # the launcher wants room for one new token at least
        "MAX_INPUT_TOKENS": str(size.context_tokens - 1),
        "MAX_TOTAL_TOKENS": str(size.context_tokens),
        "MAX_BATCH_PREFILL_TOKENS": str(max(PREFILL_TOKENS, size.context_tokens - 1)),
        "MAX_BATCH_TOTAL_TOKENS": str(max(size.batch_tokens, size.context_tokens)),
        # what waits counts too
        "MAX_CONCURRENT_REQUESTS": str(2 * size.requests),
        "MAX_BATCH_SIZE": str(size.requests),
        "USAGE_STATS": "off",
    }
    if size.quantize is not None:
        variables["HF_MODEL_QUANTIZE"] = WORDS[size.quantize]
    elif model.quantized in STORED:
        variables["HF_MODEL_QUANTIZE"] = str(model.quantized)
    else:
        variables["DTYPE"] = size.dtype
    if places.adapters:
        variables["LORA_ADAPTERS"] = ",".join(f"{name}={folder}" for name, folder in places.adapters.items())
    return variables
