"""What an Endpoint document says about the engine of a variant: its word, its settings, and the facts it is sized by."""

from typing import Literal

from pydantic import Field

from llmops_shared.contracts.document import Reference, Value

EngineName = Literal["in-process", "tgi", "lmi-vllm", "lmi-trtllm", "lmi-deepspeed", "lmi-accelerate", "vllm"]
"""`in-process`: transformers in a child of the server. The others are containers: TGI; DJL's LMI with vLLM, TensorRT-LLM, DeepSpeed or
the Hugging Face accelerate handler; vLLM's own image."""

Quantization = Literal["int8", "nf4", "fp8"]
"""`int8` and `nf4`: bitsandbytes; `fp8`: of GPUs that have it (Ada, Hopper and newer)."""


class EngineSettings(Value):
    """What an engine is told; everything else is derived from the package and the instance."""

    quantize: Quantization | None = None
    """Weights are quantized as they are loaded; None: only where the instance could not hold them otherwise."""
    tensor_parallel: int | None = Field(default=None, ge=1)
    """GPUs (in-process: processes) the model is split over; None: all GPUs of the instance that divide its heads, in-process one."""
    max_context_tokens: int | None = Field(default=None, ge=2)
    """Prompt and answer together; None: what the model takes and the instance holds."""
    max_concurrent_requests: int | None = Field(default=None, ge=1)
    """Requests worked on at a time; None: as many as the memory for keys and values holds."""


class Adapter(Value):
    """An adapter that requests ask for by name."""

    name: str = Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})$")
    """What a request says: TGI's `adapter_id`, OpenAI's `model`."""
    package: Reference
    """A ModelPackage of layout `adapter` over the same base model."""


class ServedModel(Value):
    """The facts of a package that an engine is sized by, so that whoever realizes the document need not open the package."""

    architecture: str
    """Class name in the model's config, such as `LlamaForCausalLM`."""
    num_parameters: int = Field(ge=1)
    """Parameters."""
    dtype: str
    """Number format of the stored weights, such as `bfloat16`."""
    max_context_tokens: int = Field(ge=1)
    """Prompt and answer together may not be longer."""
    layout: Literal["merged", "adapter"]
    """`adapter`: the package holds an adapter beside its base model."""
    num_layers: int = Field(ge=1)
    """Transformer blocks."""
    num_attention_heads: int = Field(ge=1)
    """Query heads."""
    num_key_value_heads: int = Field(ge=1)
    """Heads of keys and values."""
    head_size: int = Field(ge=1)
    """Numbers in one head."""
    quantized: str | None = None
    """How the stored weights are quantized already, such as `gptq` or `awq`; None: they are not."""
    max_adapter_rank: int | None = None
    """Largest rank of the adapters; None: there is none."""
