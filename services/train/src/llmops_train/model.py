"""Models and tokenizers: made, loaded, saved. Only safetensors are read, and no code of a model repository ever runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.config import ArchitectureConfig
from llmops_train.methods.adapters import adapt
from llmops_train.methods.kinds import is_mergeable, kind_of
from llmops_train.source import ModelFiles

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


def load_model(files: ModelFiles) -> Any:
    """A model with its adapters, in float32; a last one that cannot be merged stays apart. Raises LlmopsError when one does not load."""
    model = load_directory(files.folder)
    for place, adapter in enumerate(files.adapters, start=1):
        if not is_mergeable(adapter) and place < len(files.adapters):
            raise LlmopsError(f"{adapter}: an adapter of kind {kind_of(adapter)} cannot be merged, so no other goes over it")
        model = adapt(model, adapter)
        if not is_mergeable(adapter):
            return without_virtual_places(model)
        model = model.merge_and_unload()
    return model.requires_grad_(True)  # peft froze what it merged into


def without_virtual_places(model: Any) -> Any:
    """The model with logits of the given tokens alone, where prompt tuning answers for its own vectors, too."""

    def strip(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        output.logits = output.logits[:, -kwargs["input_ids"].shape[1] :]
        return output

    model.register_forward_hook(strip, with_kwargs=True)
    return model


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
    with taking_deepspeed_for_absent():
        model.save_pretrained(folder)


@contextmanager
def taking_deepspeed_for_absent() -> Iterator[None]:
    """Within it, accelerate does not look whether a model is one of DeepSpeed's engines, for which it imports DeepSpeed (3 s) where that is
    installed; what is saved here never is."""
    from accelerate.utils import other  # type: ignore[import-untyped]

    known = other.is_deepspeed_available
    other.is_deepspeed_available = lambda: False
    try:
        yield
    finally:
        other.is_deepspeed_available = known


def silence() -> None:
    """Turns off the progress bars that transformers draws around files of a second, also off a terminal."""
    from transformers.utils import logging

    logging.disable_progress_bar()


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
    return sum(num_elements(parameter) for parameter in model.parameters() if parameter.requires_grad or not trainable)


def num_elements(parameter: torch.nn.Parameter) -> int:
    """Numbers in a parameter; of one in 4 bits, which lie two to a byte, those it stands for."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())
