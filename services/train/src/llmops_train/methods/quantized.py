"""A base model in 4 bits, by bitsandbytes."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.method_config import QuantizationConfig
from llmops_train.model import load_model, save_model, silence
from llmops_train.source import ModelFiles

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_quantized(files: ModelFiles, quantization: QuantizationConfig, dtype: torch.dtype) -> "PreTrainedModel":
    """A model whose linear layers are held in 4 bits and computed in `dtype`; its adapters are merged before. Nothing of it learns."""
    if not files.adapters:
        return load_four_bits(files.folder, quantization, dtype)
    with tempfile.TemporaryDirectory() as scratch:
        save_model(load_model(files), Path(scratch))
        return load_four_bits(Path(scratch), quantization, dtype)


def load_four_bits(folder: Path, quantization: QuantizationConfig, dtype: torch.dtype) -> "PreTrainedModel":
    """A model directory, quantized as it is read."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    silence()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.kind,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
    )
    device: Any = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            quantization_config=settings,
            device_map={"": device},
        )
    except ImportError as error:
        raise LlmopsError(f"method qlora needs bitsandbytes ({error}); pip install llmops-train[qlora]") from error
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise LlmopsError(f"{folder}: does not load in 4 bits ({str(error).splitlines()[0]}); use method lora") from error
    keep_training_kernels(model)
    return model.requires_grad_(False)


def keep_training_kernels(model: torch.nn.Module) -> None:
    """Keeps bitsandbytes 0.50 from repacking weights at the first evaluation, for its AVX512-BF16 kernel on the CPU.

    The repacked form has no gradients, so that training after an evaluation goes wrong without a word, and it fails for
    matrices whose width is no multiple of 64. Processors without AVX512-BF16 never see either.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
