"""vLLM's own server (docs.vllm.ai/en/latest/serving/engine_args.html): SM_VLLM_X becomes `--x`, and the value `true` a bare flag."""

from llmops_shared.contracts.engine import EngineSettings, Quantization, ServedModel
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.places import Places
from llmops_shared.hosting.sizing import USED_SHARE, size_of

FORMATS: tuple[Quantization, ...] = ("fp8", "nf4")
WORDS: dict[Quantization, str] = {"fp8": "fp8", "nf4": "bitsandbytes"}
STEP_TOKENS = 8192  # prompts are read in pieces of this size, between the steps of running answers
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what `--max-lora-rank` may be


def environment(model: ServedModel, settings: EngineSettings, instance_type: str, places: Places) -> dict[str, str]:
    """A package that is quantized already says so itself."""
    size = size_of(model, settings, instance_type, FORMATS)
    variables = {
        "SM_VLLM_MODEL": places.model,
        "SM_VLLM_DTYPE": size.dtype,
        "SM_VLLM_TENSOR_PARALLEL_SIZE": str(size.num_gpus),
        "SM_VLLM_MAX_MODEL_LEN": str(size.context_tokens),
        "SM_VLLM_MAX_NUM_SEQS": str(size.requests),
        "SM_VLLM_MAX_NUM_BATCHED_TOKENS": str(max(STEP_TOKENS, size.requests)),
        "SM_VLLM_GPU_MEMORY_UTILIZATION": str(USED_SHARE),
        "VLLM_NO_USAGE_STATS": "1",
    }
    if size.quantize is not None:
        variables["SM_VLLM_QUANTIZATION"] = WORDS[size.quantize]
    if places.adapters:
        variables |= {
            "SM_VLLM_ENABLE_LORA": "true",
            "SM_VLLM_LORA_MODULES": " ".join(f"{name}={folder}" for name, folder in places.adapters.items()),
            "SM_VLLM_MAX_LORAS": str(len(places.adapters)),
            "SM_VLLM_MAX_LORA_RANK": str(rank_for(model.max_adapter_rank or RANKS[0])),
        }
    return variables


def rank_for(rank: int) -> int:
    """The smallest rank vLLM takes that holds this one."""
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise LlmopsError(f"an adapter of rank {rank}: vLLM takes {RANKS[-1]} at most; merge it, or serve it with tgi")
