"""The serving containers: AWS's images, and how each is told what to load."""

from llmops_infra.serving_settings import Container, Hosting

# A package lies in S3 as files, which SageMaker puts here uncompressed.
MODEL_DIR = "/opt/ml/model/model"
ADAPTER_DIR = "/opt/ml/model/adapter"
ADAPTER = "adapter"

# The newest of each that the SageMaker SDK 3.27 names. TGI was archived in March 2026; DJL's DeepSpeed image is its last.
IMAGES: dict[Container, str] = {
    "tgi": "huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.6-gpu-py311-cu124-ubuntu22.04",
    "lmi-vllm": "djl-inference:0.38.0-lmi29.0.0-cu130",
    "lmi-trtllm": "djl-inference:0.33.0-tensorrtllm0.21.0-cu128",
    "lmi-deepspeed": "djl-inference:0.27.0-deepspeed0.12.6-cu121",
    "lmi-accelerate": "djl-inference:0.38.0-lmi29.0.0-cu130",
    "vllm": "vllm:0.30.0-gpu-py312-cu130-ubuntu24.04-sagemaker",
}

# A container has no network, so that looking anything up on the hub would only cost time.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def image_uri(hosting: Hosting, registry: str) -> str:
    """The image; `registry` is the host of AWS's own images in the region."""
    return hosting.image or f"{registry}/{IMAGES[hosting.container]}"


def variables(hosting: Hosting) -> dict[str, str]:
    """The container's environment; what the settings name wins."""
    match hosting.container:
        case "tgi":
            own = tgi(hosting)
        case "vllm":
            own = vllm(hosting)
        case _:
            own = lmi(hosting)
    return {**OFFLINE, **own, **hosting.environment}


def tgi(hosting: Hosting) -> dict[str, str]:
    """Text Generation Inference; its SageMaker entry point reads HF_MODEL_ID and SM_NUM_GPUS, the launcher the rest."""
    adapter = {"LORA_ADAPTERS": f"{ADAPTER}={ADAPTER_DIR}"} if hosting.layout == "adapter" else {}
    return {
        "HF_MODEL_ID": MODEL_DIR,
        "SM_NUM_GPUS": str(hosting.num_gpus),
        # the launcher wants room for one new token at least
        "MAX_INPUT_TOKENS": str(hosting.max_context_tokens - 1),
        "MAX_TOTAL_TOKENS": str(hosting.max_context_tokens),
        "MAX_CONCURRENT_REQUESTS": str(hosting.max_concurrent_requests),
        "USAGE_STATS": "off",
        **adapter,
    }


def vllm(hosting: Hosting) -> dict[str, str]:
    """vLLM's own server: SM_VLLM_X becomes `--x`, and the value `true` a bare flag."""
    adapter = {"SM_VLLM_ENABLE_LORA": "true", "SM_VLLM_LORA_MODULES": f"{ADAPTER}={ADAPTER_DIR}"} if hosting.layout == "adapter" else {}
    return {
        "SM_VLLM_MODEL": MODEL_DIR,
        "SM_VLLM_TENSOR_PARALLEL_SIZE": str(hosting.num_gpus),
        "SM_VLLM_MAX_MODEL_LEN": str(hosting.max_context_tokens),
        "SM_VLLM_MAX_NUM_SEQS": str(hosting.max_concurrent_requests),
        "VLLM_NO_USAGE_STATS": "1",
        **adapter,
    }


def lmi(hosting: Hosting) -> dict[str, str]:
    """DJL's large model inference: OPTION_X is `option.x` of serving.properties (docs.djl.ai/master/docs/serving/serving/docs/lmi)."""
    handler = {
        "lmi-trtllm": {"OPTION_ROLLING_BATCH": "trtllm"},
        "lmi-deepspeed": {"OPTION_ROLLING_BATCH": "deepspeed"},
        # one request after another, layers spread over the GPUs by accelerate
        "lmi-accelerate": {"OPTION_ENTRYPOINT": "djl_python.huggingface", "OPTION_ROLLING_BATCH": "disable", "OPTION_DEVICE_MAP": "auto"},
    }
    return {
        "HF_MODEL_ID": MODEL_DIR,
        "HF_MODEL_TRUST_REMOTE_CODE": "false",
        "TENSOR_PARALLEL_DEGREE": str(hosting.num_gpus),
        "OPTION_MAX_MODEL_LEN": str(hosting.max_context_tokens),
        "OPTION_MAX_ROLLING_BATCH_SIZE": str(hosting.max_concurrent_requests),
        "OPTION_MODEL_LOADING_TIMEOUT": str(hosting.startup_timeout_s),
        **handler.get(hosting.container, {}),
    }
