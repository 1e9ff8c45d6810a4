"""How a model fits an instance: GPUs, number format, quantization, context and requests at a time.

Weights and the keys and values of running requests share the memory that is left after what the engine itself needs:

    memory for keys and values = GPUs x (memory x 0.9 - 1.5 GiB) - weights
    keys and values of a token = 2 x layers x key-value heads x head size x 2 bytes
"""

from typing import NamedTuple

from llmops_shared.contracts.engine import EngineSettings, Quantization, ServedModel
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.instances import GIB, Gpu, gpus_of

USED_SHARE = 0.9  # what vLLM and TGI take by default
RESERVED_GIB = 1.5  # CUDA context, graphs and activations, of each GPU
BYTES = {None: 2.0, "int8": 1.05, "fp8": 1.05, "nf4": 0.6}  # of a weight, scales included; embeddings stay in 16 bits
STORED_QUANTIZED = 0.65  # a weight of 4 bits and its scale, with embeddings in 16 bits (AWQ, GPTQ)
SMALLEST_CONTEXT = 2048  # below this the engine would be no use
LONGEST_AT_ONCE = 4  # where nobody says how long a context may be, so many of the longest fit beside each other
MAX_REQUESTS = 256
KEY_BYTES = 2


class Size(NamedTuple):
    """What an engine is told."""

    num_gpus: int
    """GPUs the model is split over."""
    dtype: str
    """`bfloat16` or `float16`."""
    quantize: Quantization | None
    context_tokens: int
    """Prompt and answer together."""
    requests: int
    """Worked on at a time."""
    batch_tokens: int
    """Tokens whose keys and values fit, of all requests together."""


def size_of(
    model: ServedModel, settings: EngineSettings, instance_type: str, formats: tuple[Quantization, ...], splits_heads: bool = True
) -> Size:
    """The size on an instance, for an engine that knows these ways to quantize. Raises LlmopsError when the model does not fit."""
    available, gpu = gpus_of(instance_type)
    num_gpus = split(model, settings, available, instance_type) if splits_heads else available
    memory = num_gpus * (gpu.memory_gib * USED_SHARE - RESERVED_GIB) * GIB
    wanted = settings.max_context_tokens or min(model.max_context_tokens, SMALLEST_CONTEXT)
    if wanted > model.max_context_tokens:
        raise LlmopsError(f"max_context_tokens {wanted}: the model takes {model.max_context_tokens}; lower it")
    for quantize in candidates(model, settings, gpu, formats, instance_type):
        fits = int((memory - weight_bytes(model, quantize)) / (token_bytes(model, num_gpus)))
        if fits >= wanted:
            context = settings.max_context_tokens or min(model.max_context_tokens, max(wanted, fits // LONGEST_AT_ONCE // 1024 * 1024))
            return Size(num_gpus, "bfloat16" if gpu.bfloat16 else "float16", quantize, context, requests(settings, context, fits), fits)
    smallest = min(weight_bytes(model, quantize) for quantize in candidates(model, settings, gpu, formats, instance_type))
    raise LlmopsError(
        f"{model.architecture} of {model.num_parameters / 1e9:.1f} billion parameters does not fit "
        f"{num_gpus} x {gpu.name} of {instance_type}: "
        f"{smallest / GIB:.1f} GiB of weights and {wanted} tokens of context in {memory / GIB:.1f} GiB; take a larger instance or quantize"
    )


def split(model: ServedModel, settings: EngineSettings, available: int, instance_type: str) -> int:
    """GPUs that each get the same number of heads. Raises LlmopsError for a number that does not divide them."""
    fitting = [number for number in range(1, available + 1) if divides(model, number)]
    wanted = settings.tensor_parallel or fitting[-1]
    if wanted not in fitting:
        raise LlmopsError(
            f"tensor_parallel {wanted}: {instance_type} has {available} GPUs and the model {model.num_attention_heads} heads "
            f"({model.num_key_value_heads} for keys); it can be split over {', '.join(map(str, fitting))}"
        )
    return wanted


def divides(model: ServedModel, number: int) -> bool:
    """Whether the heads can be shared out evenly; heads of keys that are fewer than GPUs are kept several times."""
    keys = model.num_key_value_heads
    return model.num_attention_heads % number == 0 and (keys % number == 0 or number % keys == 0)


def candidates(
    model: ServedModel, settings: EngineSettings, gpu: Gpu, formats: tuple[Quantization, ...], instance_type: str
) -> list[Quantization | None]:
    """Ways to hold the weights, best first. Raises LlmopsError for one that is asked for and cannot be had."""
    possible = [quantize for quantize in formats if quantize != "fp8" or gpu.fp8]
    if settings.quantize is None:
        return [None] if model.quantized else [None, *possible]
    if model.quantized:
        raise LlmopsError(f"quantize={settings.quantize}: the package is quantized already ({model.quantized}); leave quantize out")
    if settings.quantize not in possible:
        known = ", ".join(possible) or "none"
        raise LlmopsError(f"quantize={settings.quantize}: not with this engine on {gpu.name} of {instance_type} (possible: {known})")
    return [settings.quantize]


def weight_bytes(model: ServedModel, quantize: Quantization | None) -> float:
    """Bytes of all weights."""
    return model.num_parameters * (STORED_QUANTIZED if model.quantized else BYTES[quantize])


def token_bytes(model: ServedModel, num_gpus: int) -> int:
    """Bytes of keys and values of one token on all GPUs."""
    heads = max(model.num_key_value_heads, num_gpus)
    return 2 * model.num_layers * heads * model.head_size * KEY_BYTES


def requests(settings: EngineSettings, context: int, fits: int) -> int:
    """As many as fit if each takes a quarter of its context."""
    return settings.max_concurrent_requests or max(1, min(MAX_REQUESTS, fits // max(1, context // 4)))
