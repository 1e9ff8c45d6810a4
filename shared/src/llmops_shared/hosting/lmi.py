"""DJL's large model inference (docs.djl.ai, LMI user guides): OPTION_X is `option.x` of serving.properties."""

from collections.abc import Mapping

from llmops_shared.contracts.engine import EngineName, EngineSettings, Quantization, ServedModel
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.places import Places
from llmops_shared.hosting.sizing import USED_SHARE, Size, size_of

FORMATS: dict[str, dict[Quantization, str]] = {
    "lmi-vllm": {"fp8": "fp8", "nf4": "bitsandbytes"},
    "lmi-trtllm": {"fp8": "fp8", "int8": "smoothquant"},
    "lmi-deepspeed": {"int8": "dynamic_int8"},
    "lmi-accelerate": {"int8": "bitsandbytes8", "nf4": "bitsandbytes4"},
}
DTYPES = {"bfloat16": "bf16", "float16": "fp16"}
STEP_TOKENS = 8192


def environment(
    engine: EngineName, model: ServedModel, settings: EngineSettings, instance_type: str, places: Places, startup_timeout_s: int
) -> dict[str, str]:
    """The variables of one of its handlers."""
    if places.adapters:
        raise LlmopsError(f"{engine} loads no adapter beside its base as packages lay it out: use tgi or vllm, or merge it")
    words = FORMATS[engine]
    size = size_of(model, settings, instance_type, tuple(words), splits_heads=engine != "lmi-accelerate")
    return {
        "HF_MODEL_ID": places.model,
        "HF_MODEL_TRUST_REMOTE_CODE": "false",
        "TENSOR_PARALLEL_DEGREE": str(size.num_gpus),
        "OPTION_DTYPE": DTYPES[size.dtype],
        "OPTION_MODEL_LOADING_TIMEOUT": str(startup_timeout_s),
        **({"OPTION_QUANTIZE": words[size.quantize]} if size.quantize is not None else {}),
        **handler(engine, size),
    }


def handler(engine: EngineName, size: Size) -> dict[str, str]:
    """What only this handler is told."""
    match engine:
        case "lmi-vllm":
            return {
                "OPTION_ROLLING_BATCH": "vllm",
                "OPTION_MAX_ROLLING_BATCH_SIZE": str(size.requests),
                "OPTION_MAX_MODEL_LEN": str(size.context_tokens),
                "OPTION_MAX_ROLLING_BATCH_PREFILL_TOKENS": str(STEP_TOKENS),
                "OPTION_GPU_MEMORY_UTILIZATION": str(USED_SHARE),
            }
        case "lmi-trtllm":
            return {
                "OPTION_ROLLING_BATCH": "trtllm",
                "OPTION_MAX_ROLLING_BATCH_SIZE": str(size.requests),
                "OPTION_MPI_MODE": "true",
                "OPTION_MAX_INPUT_LEN": str(size.context_tokens - 1),
                # the name is historical: it is the length of prompt and answer together
                "OPTION_MAX_OUTPUT_LEN": str(size.context_tokens),
                "OPTION_MAX_NUM_TOKENS": str(max(STEP_TOKENS, size.context_tokens)),
            }
        case "lmi-deepspeed":
            return {
                "OPTION_ENTRYPOINT": "djl_python.deepspeed",
                "OPTION_ROLLING_BATCH": "deepspeed",
                "OPTION_MAX_ROLLING_BATCH_SIZE": str(size.requests),
                "OPTION_MAX_TOKENS": str(size.context_tokens),
            }
        case _:
            # one request after another, layers spread over the GPUs by accelerate
            return {
                "OPTION_ENTRYPOINT": "djl_python.huggingface",
                "OPTION_ROLLING_BATCH": "disable",
                "OPTION_DEVICE_MAP": "auto",
                "OPTION_MAX_MODEL_LEN": str(size.context_tokens),
            }


def properties(environment: Mapping[str, str]) -> str:
    """The same as `serving.properties`, which lies beside the model and wins over the environment."""
    names = {"HF_MODEL_ID": "option.model_id", "HF_MODEL_TRUST_REMOTE_CODE": "option.trust_remote_code"}
    names["TENSOR_PARALLEL_DEGREE"] = "option.tensor_parallel_degree"
    # DeepSpeed's processes are started by MPI; the others start their own
    lines = [f"engine={'MPI' if environment.get('OPTION_ROLLING_BATCH') == 'deepspeed' else 'Python'}"]
    for name, value in environment.items():
        key = names.get(name) or f"option.{name.removeprefix('OPTION_').lower()}"
        lines.append(f"{key.replace('entrypoint', 'entryPoint')}={value}")
    return "\n".join(lines) + "\n"
