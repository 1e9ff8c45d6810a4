"""Loading a package's model: safetensors only, code of the model's own never run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.contracts.engine import Quantization
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(model: Path, quantize: Quantization | None = None, tensor_parallel: int = 1) -> "PreTrainedModel":
    """The model in a directory. Raises LlmopsError when it cannot be loaded.

    With `tensor_parallel` above 1 every process of the group calls this, and each holds its part of the weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": "auto", "attn_implementation": "sdpa"}
    if tensor_parallel > 1:
        options["distributed_config"] = shared_out(tensor_parallel)
    if quantize == "nf4":
        options |= four_bits()
    try:
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(model), use_safetensors=True, trust_remote_code=False, local_files_only=True, **options
        )
    except ImportError as error:
        raise LlmopsError(
            f"{model}: quantize={quantize} needs a package that is missing ({error}); install llmops-serve[quantize]"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise LlmopsError(f"{model}: cannot be loaded as a causal language model ({error}); package the run again") from error
    loaded.eval().requires_grad_(False)
    return eight_bits(loaded) if quantize == "int8" else loaded


def shared_out(num_processes: int) -> Any:
    """How a model is split over a group of processes: by the plan its class has."""
    from transformers.distributed import DistributedConfig

    return DistributedConfig(tp_size=num_processes)


def four_bits() -> dict[str, Any]:
    """bitsandbytes' NF4, which has kernels for the CPU; it computes in float32 there, for few CPUs are fast at anything else."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    return {"quantization_config": config, "dtype": torch.float32, "device_map": {"": "cpu"}}


def eight_bits(model: "PreTrainedModel") -> "PreTrainedModel":
    """PyTorch's dynamic int8: weights are stored as int8, activations quantized as they come. The head stays as it is."""
    head = model.get_output_embeddings()
    inside: Any = model.get_submodule(model.base_model_prefix)
    torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
        inside, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
    )
    assert model.get_output_embeddings() is head
    return model


def end_tokens(model: "PreTrainedModel") -> frozenset[int]:
    """Tokens that end an answer, by the model's generation settings."""
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = model.config.eos_token_id
    return frozenset([configured] if isinstance(configured, int) else configured or [])


def use_threads(threads: int) -> None:
    """CPU threads of this process's tensor operations."""
    torch.set_num_threads(threads)
