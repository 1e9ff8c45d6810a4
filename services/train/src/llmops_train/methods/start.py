"""Where training starts, and what of it is kept: the method's model, its data, its weights."""

import tempfile
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.contracts import DatasetManifest, Part
from llmops_shared.documents import store_part
from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig
from llmops_train.data import open_splits
from llmops_train.feed.sequences import Sequences
from llmops_train.methods.adapters import add_adapter, save_adapter
from llmops_train.methods.kinds import is_mergeable, kind_of
from llmops_train.methods.pairs import open_pairs
from llmops_train.model import check_fit, load_model, load_tokenizer, new_model, save_model
from llmops_train.source import ModelFiles, Source, open_source


def open_data(config: TrainConfig, place: str, manifest: DatasetManifest, tokenizer_folder: Path) -> tuple[Sequences, Sequences]:
    """The train and validation splits as the method learns from them. Raises LlmopsError when one is missing, empty or does not fit."""
    if config.method != "dpo":
        return open_splits(config, place, manifest)
    tokenizer = load_tokenizer(tokenizer_folder)
    return open_pairs(place, manifest, "train", tokenizer), open_pairs(place, manifest, "validation", tokenizer)


def make_model(config: TrainConfig, source: Source | None, tokenizer_folder: Path, manifest: DatasetManifest) -> Any:
    """The model to train, its trainable parameters marked. Raises LlmopsError when dataset and model do not fit."""
    tokenizer = load_tokenizer(tokenizer_folder)
    known = None
    if source is None:
        assert config.architecture is not None
        model, uri = new_model(config.architecture, tokenizer, config.seed), "architecture"
    else:
        files = open_source(source)
        check_adapters(files, source.given)
        model, uri = load_base(config, files), source.given
        known = load_tokenizer(files.tokenizer).get_vocab()
    check_fit(model, tokenizer.get_vocab(), known, manifest.sequence_length, uri)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return add_adapter(model, config, tokenizer_folder)


def load_base(config: TrainConfig, files: ModelFiles) -> Any:
    """What the method starts from: weights in float32, or held in 4 bits."""
    if config.four_bits is None:
        return load_model(files)
    from llmops_train.methods.quantized import load_quantized

    return load_quantized(files, config.four_bits, torch.bfloat16 if config.dtype == "bfloat16" else torch.float32)


def check_adapters(files: ModelFiles, given: str) -> None:
    """Raises LlmopsError for a start whose adapter cannot become part of its weights."""
    for adapter in files.adapters:
        if not is_mergeable(adapter):
            raise LlmopsError(
                f"model {given}: its adapter ({kind_of(adapter)}) cannot be merged, so nothing can be trained over it; "
                f"start from the model below it"
            )


def store_weights(config: TrainConfig, model: Any, tokenizer_folder: Path) -> list[Part]:
    """Writes the model directory, or the adapter with its tokenizer, below `out`."""
    kind = "model" if config.adapter is None else "adapter"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if config.adapter is None:
            save_model(model, folder)
        else:
            save_adapter(model, folder, config.model or "")
        own = {path.name: path for path in sorted(folder.iterdir())}
        tokenizer = {path.name: path.read_bytes() for path in sorted(tokenizer_folder.iterdir()) if path.is_file()}
        parts = [store_part(config.out, f"{kind}/{name}", content) for name, content in tokenizer.items()]
        parts += [store_part(config.out, f"{kind}/{name}", path) for name, path in own.items()]
    return parts
