"""Adapters: put on a model, saved, laid over it again. peft does the work."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

# peft 0.21 asks transformers 5 for the old name; nothing of ours uses it
PEFT_WARNING = "`is_gradient_checkpointing` is deprecated"


def add_adapter(model: "PreTrainedModel", config: TrainConfig, tokenizer_folder: Path) -> Any:
    """The model with a fresh adapter; only the adapter learns. Raises LlmopsError when the model cannot have it."""
    from peft import get_peft_model

    if config.adapter is None:
        return model
    check_positions(model, config)
    torch.manual_seed(config.seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", PEFT_WARNING, FutureWarning)
            adapted = get_peft_model(model, settings_of(model, config, tokenizer_folder))
    except ValueError as error:
        raise LlmopsError(f"{config.model}: cannot have an adapter of method {config.method} ({str(error).splitlines()[0]})") from error
    if config.dtype == "bfloat16":
        thin(adapted)
    return adapted


def settings_of(model: "PreTrainedModel", config: TrainConfig, tokenizer_folder: Path) -> "PeftConfig":
    """peft's own settings of the config's adapter."""
    from peft import AdaptionPromptConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig

    if config.lora is not None:
        lora = config.lora
        return LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
        )
    if config.prompt_tuning is not None:
        text = config.prompt_tuning.initial_text
        start = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": text, "tokenizer_name_or_path": str(tokenizer_folder)}
        return PromptTuningConfig(
            num_virtual_tokens=config.prompt_tuning.num_virtual_tokens,
            task_type="CAUSAL_LM",
            **(start if text else {"prompt_tuning_init": "SAMPLE_VOCAB"}),
        )
    if config.prefix_tuning is not None:
        zero = config.prefix_tuning.initial == "zero"
        return PrefixTuningConfig(
            num_virtual_tokens=config.prefix_tuning.num_virtual_tokens, task_type="CAUSAL_LM", init_weights="zero" if zero else None
        )
    assert config.llama_adapter is not None
    depth = model.config.num_hidden_layers
    num_layers = config.llama_adapter.num_layers or depth
    if num_layers > depth:
        raise LlmopsError(f"llama_adapter.num_layers {num_layers}: {config.model} has {depth} layers")
    return AdaptionPromptConfig(adapter_len=config.llama_adapter.num_virtual_tokens, adapter_layers=num_layers, task_type="CAUSAL_LM")


def check_positions(model: "PreTrainedModel", config: TrainConfig) -> None:
    """Raises LlmopsError when virtual tokens leave a prompt no room."""
    section = config.prompt_tuning or config.prefix_tuning
    positions = getattr(model.config, "max_position_embeddings", None)
    if section is not None and positions is not None and section.num_virtual_tokens >= positions:
        raise LlmopsError(
            f"{config.adapter}.num_virtual_tokens {section.num_virtual_tokens}: {config.model} takes {positions} tokens in all"
        )


def thin(model: torch.nn.Module) -> None:
    """Frozen matrices in bfloat16: autocast computes with just these numbers, so results stay the same in half the memory."""
    shared = {id(model.get_input_embeddings().weight)}  # type: ignore[operator]
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if type(module) is torch.nn.Linear and weight is not None and not weight.requires_grad and id(weight) not in shared:
            module.weight = torch.nn.Parameter(weight.to(torch.bfloat16), requires_grad=False)


def adapt(model: "PreTrainedModel", adapter: Path) -> Any:
    """A model with a saved adapter over it, not merged. Raises LlmopsError when they do not fit."""
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


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """Writes `adapter_model.safetensors` and `adapter_config.json`, equal for equal adapters."""
    model.save_pretrained(folder, safe_serialization=True)
    for path in folder.iterdir():  # peft adds a model card full of blanks
        if path.suffix not in {".json", ".safetensors"}:
            path.unlink()
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["base_model_name_or_path"] = base
    if isinstance(settings.get("target_modules"), list):
        settings["target_modules"] = sorted(settings["target_modules"])  # peft keeps a set, whose order changes with every process
    if "prompt_tuning_init" in settings:  # where the vectors started from; a path of this machine is nobody's concern
        settings |= {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
