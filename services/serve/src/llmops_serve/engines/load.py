"""Loading a package's model: safetensors only, code of the model's own never run."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(model: Path, adapter: Path | None) -> "PreTrainedModel":
    """The model in a directory, with the adapter folded in. Raises LlmopsError when it cannot be loaded."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(model), use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype="auto", attn_implementation="sdpa"
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise LlmopsError(f"{model}: cannot be loaded as a causal language model ({error}); package the run again") from error
    if adapter is not None:
        loaded = fold_in(loaded, adapter)
    return loaded.eval()


def fold_in(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    """Adds a LoRA adapter to the weights, which then cost what the base model costs."""
    try:
        from peft import PeftModel
    except ImportError as error:
        way_out = "install llmops-serve[adapters], or package the run as merged"
        raise LlmopsError(f"{adapter}: serving an adapter needs peft; {way_out}") from error
    merged: PreTrainedModel = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return merged


def end_tokens(model: "PreTrainedModel") -> frozenset[int]:
    """Tokens that end an answer, by the model's generation settings."""
    configured = model.generation_config.eos_token_id
    if configured is None:
        configured = model.config.eos_token_id
    return frozenset([configured] if isinstance(configured, int) else configured or [])


def use_threads(threads: int) -> None:
    """CPU threads of this process's tensor operations."""
    torch.set_num_threads(threads)
