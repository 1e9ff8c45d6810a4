"""Models and tokenizers: made, loaded, adapted, saved. Only safetensors are read, and no code of a model repository ever runs."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.config import ArchitectureConfig, LoraConfig
from llmops_train.source import ModelFiles

# peft 0.21 asks transformers 5 for the old name; nothing of ours uses it
PEFT_WARNING = "`is_gradient_checkpointing` is deprecated"

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder, padding on the left as generation needs it."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, padding_side="left")
    except (OSError, ValueError, KeyError) as error:
        raise LlmopsError(f"{folder}: holds no tokenizer that loads ({str(error).splitlines()[0]})") from error
    if tokenizer.eos_token_id is None:
        raise LlmopsError(f"{folder}: its tokenizer has no end-of-text token, so no answer would ever end; give one with eos_token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked everywhere, so any token will do
    return tokenizer


def new_model(architecture: ArchitectureConfig, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A Llama with random weights for the tokenizer's vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=architecture.hidden_size,
            num_hidden_layers=architecture.num_layers,
            num_attention_heads=architecture.num_heads,
            num_key_value_heads=architecture.num_heads,
            intermediate_size=architecture.intermediate_size,
            max_position_embeddings=architecture.max_position_embeddings,
            tie_word_embeddings=architecture.tie_embeddings,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="sdpa",
        )
    )


def load_model(files: ModelFiles) -> "PreTrainedModel":
    """A model with its adapters merged, in float32. Raises LlmopsError when it does not load."""
    model = load_directory(files.folder)
    for adapter in files.adapters:
        model = adapt(model, adapter).merge_and_unload()
    return model.requires_grad_(True)  # peft froze what it merged into


def load_directory(folder: Path) -> "PreTrainedModel":
    """A full model directory, from safetensors."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    silence()
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, attn_implementation="sdpa"
        )
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise LlmopsError(f"{folder}: does not load as a causal language model ({str(error).splitlines()[0]})") from error


def save_model(model: "PreTrainedModel", folder: Path) -> None:
    """Writes a full model directory, as safetensors."""
    silence()
    model.save_pretrained(folder)


def silence() -> None:
    """Turns off the progress bars that transformers draws around files of a second, also off a terminal."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def adapt(model: "PreTrainedModel", adapter: Path) -> Any:
    """A model with a saved LoRA adapter over it, not merged."""
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (adapter / "adapter_model.safetensors").exists():
        raise LlmopsError(f"{adapter}: has no adapter_model.safetensors; other weight files are refused")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", PEFT_WARNING, FutureWarning)
            return PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise LlmopsError(f"{adapter}: does not fit the model below it ({str(error).splitlines()[0]})") from error


def add_lora(model: "PreTrainedModel", lora: LoraConfig, seed: int) -> Any:
    """The model with a fresh adapter on every linear layer but the output embedding; only the adapter learns."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    torch.manual_seed(seed)
    adapter = PeftConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", PEFT_WARNING, FutureWarning)
        return get_peft_model(model, adapter)


def check_fit(
    model: "PreTrainedModel", vocabulary: dict[str, int], known: dict[str, int] | None, sequence_length: int, model_uri: str
) -> None:
    """Raises LlmopsError when the dataset's tokens are not the model's, or its sequences are too long for it.

    `vocabulary` is that of the dataset's tokenizer, `known` that of the model's own.
    """
    rows = model.get_input_embeddings().num_embeddings
    if max(vocabulary.values()) >= rows:
        raise LlmopsError(
            f"{model_uri}: has {rows} embeddings, but the dataset's vocabulary has {len(vocabulary)} tokens; "
            f"preprocess the dataset with this model's tokenizer (tokenizer={model_uri})"
        )
    moved = [token for token, number in (known or {}).items() if vocabulary.get(token) != number]
    if moved:
        raise LlmopsError(
            f"{model_uri}: its tokenizer is not the dataset's ({len(moved)} of {len(known or {})} tokens have another id, "
            f"{moved[0]!r} for one); preprocess the dataset with this model's tokenizer (tokenizer={model_uri})"
        )
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and sequence_length > positions:
        raise LlmopsError(
            f"{model_uri}: takes {positions} tokens, but the dataset's sequences have {sequence_length}; "
            f"preprocess it with sequence_length={positions} or less"
        )


def count_parameters(model: torch.nn.Module, trainable: bool = False) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or not trainable)


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """Writes `adapter_model.safetensors` and `adapter_config.json`, equal for equal adapters."""
    model.save_pretrained(folder, safe_serialization=True)
    for path in folder.iterdir():  # peft adds a model card full of blanks
        if path.suffix not in {".json", ".safetensors"}:
            path.unlink()
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["base_model_name_or_path"] = base
    settings["target_modules"] = sorted(settings["target_modules"])  # peft keeps a set, whose order changes with every process
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
